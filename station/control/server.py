"""The server of the control socket; the package's docstring lists the requests."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from drivers.errors import InspectionError
from station.control.asking import ControlError
from station.control.status import status_document
from station.http_service import CALLERS, LARGEST_REQUEST, PATIENCE_S, HttpService
from station.journal import PartMarks
from station.recipe import Name, Variant
from station.review import review

if TYPE_CHECKING:
    from station.running import Station

log = logging.getLogger(__name__)

PERMISSIONS = 0o660
"""Owner and group may connect; others may not."""

T = TypeVar("T")
Body = TypeVar("Body", bound=BaseModel)


Reason = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
"""One line of text."""
EngineDigest = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{6,64}|factory)$")]
"""The first digits of an engine's digest in the store, or the factory engine."""
Mark = Annotated[str, StringConstraints(max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""A name of a lot, a shift or a person; empty for none."""


class _Order(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Prepare(_Order):
    recipe: Variant


class _Activate(_Order):
    engine: Name


class _ActivateInstalled(_Order):
    engine: EngineDigest
    why: Reason
    by: Reason


class _RollBack(_Order):
    why: Reason
    by: Reason


class _Halt(_Order):
    reason: Reason = "by request"


class _Resume(_Order):
    pass


class _Marks(_Order):
    lot: Mark = ""
    shift: Mark = ""
    operator: Mark = ""


class _Review(_Order):
    record: int | None = None
    part: int | None = None
    class_name: Reason
    by: Reason


class ControlServer:
    """Serves the control socket of one station, in a thread of its own."""

    def __init__(self, station: Station, path: Path) -> None:
        self._path = path
        self._station = station
        self._socket: socket.socket | None = None
        self._inode = 0
        routes = Starlette(routes=self._routes(), exception_handlers={HTTPException: _no_such_thing})
        self._service = HttpService("control", routes)

    def open(self) -> None:
        """Listen. A socket that a killed station left is replaced. Raises :class:`ControlError`."""
        self._socket = _listen_at(self._path)
        self._inode = os.stat(self._path).st_ino
        self._service.start(self._socket)

    def close(self) -> None:
        """Answer the requests under way, for a moment, and remove the socket. Never raises."""
        self._service.close()
        if self._socket is None:
            return
        try:
            if os.stat(self._path).st_ino == self._inode:
                os.unlink(self._path)
        except OSError:
            return

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # ------------------------------------------------------------------ what can be asked

    def _routes(self) -> list[Route]:
        station = self._station

        async def status(request: Request) -> JSONResponse:
            return await _answered(lambda: status_document(station))

        def order(kind: type[Body], carry_out: Callable[[Body], object]) -> Callable[..., Any]:
            async def asked(request: Request) -> JSONResponse:
                try:
                    content = await asyncio.wait_for(_body_of(request), PATIENCE_S)
                    body = kind.model_validate_json(content or b"{}")
                except ValidationError as error:
                    return _refused(400, _in_words(error))
                except (ControlError, TimeoutError, ClientDisconnect) as error:
                    return _refused(400, str(error) or "the request did not come to its end")

                def carried_out() -> dict[str, Any]:
                    carry_out(body)
                    return status_document(station)

                return await _answered(carried_out)

            return asked

        orders = {
            "/prepare": order(_Prepare, lambda body: station.prepare(body.recipe)),
            "/activate": order(_Activate, lambda body: station.activate(body.engine)),
            "/engines/activate": order(
                _ActivateInstalled,
                lambda body: station.activate_installed(body.engine, why=body.why, by=body.by),
            ),
            "/engines/rollback": order(_RollBack, lambda body: station.roll_back(why=body.why, by=body.by)),
            "/halt": order(_Halt, lambda body: station.line.halt(body.reason)),
            "/resume": order(_Resume, lambda body: station.line.resume()),
            "/marks": order(_Marks, lambda body: station.line.mark(PartMarks(**body.model_dump()))),
            "/review": order(_Review, lambda body: review(station.journal, **body.model_dump())),
        }
        return [
            Route("/status", status, methods=["GET"]),
            *(Route(path, asked, methods=["POST"]) for path, asked in orders.items()),
        ]


async def _answered(work: Callable[[], dict[str, Any]]) -> JSONResponse:
    """The work's result, done in a thread that nobody waits for at the end of the process."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[dict[str, Any]] = loop.create_future()

    def finish(result: dict[str, Any] | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result or {})

    def run() -> None:
        result: dict[str, Any] | None = None
        failure: BaseException | None = None
        try:
            result = work()
        except BaseException as error:
            failure = error
        try:
            loop.call_soon_threadsafe(finish, result, failure)
        except RuntimeError:
            log.info("control: the station ended before it answered")

    threading.Thread(target=run, name="control-work", daemon=True).start()
    try:
        return JSONResponse(await done, headers={"connection": "close"})
    except InspectionError as error:
        return _refused(409, str(error))
    except Exception as error:
        log.exception("control: a request failed")
        return _refused(500, f"this is a mistake in the station, please report it: {error!r}")


def _refused(code: int, error: str) -> JSONResponse:
    return JSONResponse({"error": error}, status_code=code, headers={"connection": "close"})


async def _no_such_thing(request: Request, error: Exception) -> JSONResponse:
    code = error.status_code if isinstance(error, HTTPException) else 500
    return _refused(code, f"{request.method} {request.url.path} cannot be asked; see docs/control.md")


async def _body_of(request: Request) -> bytes:
    content = b""
    async for piece in request.stream():
        content += piece
        if len(content) > LARGEST_REQUEST:
            raise ControlError(f"a request may have at most {LARGEST_REQUEST} bytes")
    return content


def _in_words(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, one['loc'])) or 'request'}: {one['msg']}" for one in error.errors())


def _listen_at(path: Path) -> socket.socket:
    """A socket that listens, to be opened by owner and group. Raises :class:`ControlError`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear(path)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listening.bind(str(path))
            os.chmod(path, PERMISSIONS)  # before anybody can connect: that takes listen()
            listening.listen(CALLERS)
        except BaseException:
            listening.close()
            raise
    except OSError as error:
        why = "its path is too long" if "too long" in str(error) else error.strerror or error
        raise ControlError(
            f"control socket {path}: {why}: name another path, `paths.control` in the configuration"
        ) from error
    return listening


def _clear(path: Path) -> None:
    """Remove the socket of an ended station; refuse a live one. Raises :class:`ControlError` or OSError."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ControlError(
            f"control socket {path}: another file exists there: name another path, `paths.control`"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except BlockingIOError:
            pass  # somebody listens and is busy
    raise ControlError(
        f"control socket {path}: another station uses it: stop that station, or name another path"
    )
