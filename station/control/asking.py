"""Requests to a running station, from another process."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

from drivers.errors import InspectionError


class ControlError(InspectionError):
    """The station cannot be reached, or refuses a request; the message says what to do about it."""


def ask(
    path: Path, method: str, what: str, body: dict[str, Any] | None = None, timeout_s: float = 10.0
) -> dict[str, Any]:
    """The answer of the station behind the socket. Raises :class:`ControlError`."""
    import httpx

    _try_connection(path)
    try:
        with httpx.Client(
            transport=httpx.HTTPTransport(uds=str(path)), timeout=timeout_s, trust_env=False
        ) as client:
            answer = client.request(method, f"http://station{what}", json=body)
        found = answer.json()
    except httpx.TimeoutException as error:
        raise ControlError(
            f"the station at {path} did not answer within {timeout_s:g} s: try again, or see its log"
        ) from error
    except (httpx.HTTPError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ControlError(f"the program at {path} does not answer like a station: {error}") from error
    if not isinstance(found, dict):
        raise ControlError(f"the program at {path} does not answer like a station")
    if answer.status_code != 200:
        raise ControlError(str(found.get("error", f"the station refuses with HTTP {answer.status_code}")))
    return found


def _try_connection(path: Path) -> None:
    """Check that a station listens; the error says why none does. Raises :class:`ControlError`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.settimeout(1.0)
        try:
            caller.connect(str(path))
        except FileNotFoundError as error:
            raise ControlError(
                f"no station runs here: {path} does not exist; start one (`station run`), or name the right "
                "configuration with --config"
            ) from error
        except ConnectionRefusedError as error:
            raise ControlError(
                f"no station runs here: the one that created {path} has ended; start it again (`station run`)"
            ) from error
        except PermissionError as error:
            raise ControlError(
                f"{path} may be used by its owner and group only{_owner(path)}: run it as one of them"
            ) from error
        except OSError as error:
            raise ControlError(f"the station at {path} cannot be reached: {error}: try again") from error


def _owner(path: Path) -> str:
    try:
        found = os.stat(path)
    except OSError:  # it stands in a folder that is closed too
        return ""
    return f", user {found.st_uid} and group {found.st_gid}"
