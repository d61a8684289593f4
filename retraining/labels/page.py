"""The page on which people label pictures: local, without a network, one address that only its reader knows.

Every address begins with a random token, so that another user of the machine, or a page of another site in
the same browser, can neither read nor write. Names of other hosts are refused, too (DNS rebinding).
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from functools import lru_cache
from importlib.resources import files

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from drivers.cameras.picture_files import ImageFileError, encode_image, read_image
from retraining.data.manifest import file_digest
from retraining.errors import DatasetError
from retraining.labels.answers import NO_PRODUCT, UNSURE, Answer, AnswerLog, Box
from retraining.labels.pictures import Task
from station.patching.area import resize_picture

HOSTS = ["127.0.0.1", "localhost"]
_THUMB = 160
_LARGEST_BODY = 2_000_000


class _Given(BaseModel):
    """What the page sends when a person answers."""

    model_config = ConfigDict(extra="forbid", strict=True)

    pictures: list[int] = Field(min_length=1, max_length=5_000)
    label: str
    boxes: list[Box] = Field(default=[], max_length=200)


def new_token() -> str:
    """A token that nobody guesses."""
    return secrets.token_urlsafe(24)


def make_page(task: Task, log: AnswerLog, by: str, token: str, *, blind: bool = False) -> Starlette:
    """The application of one person; ``blind`` hides what others suggested."""
    labels = (*task.classes, UNSURE, NO_PRODUCT)

    async def index(request: Request) -> Response:
        page = files("retraining.labels").joinpath("page.html").read_text(encoding="utf-8")
        return HTMLResponse(
            page, headers={"content-security-policy": _ONLY_OURS, "referrer-policy": "no-referrer"}
        )

    def state() -> dict[str, object]:
        own = log.of(by)
        pictures = []
        for number, picture in enumerate(task.pictures):
            answer = own.get(picture.digest)
            pictures.append(
                {
                    "number": number,
                    "path": picture.path,
                    "suggestion": "" if blind else picture.suggestion,
                    "information": "" if blind else picture.information,
                    "label": answer.label if answer else "",
                    "boxes": [] if answer is None else [_plain(box) for box in answer.boxes],
                }
            )
        return {"by": by, "classes": list(task.classes), "others": labels[-2:], "pictures": pictures}

    async def show_state(request: Request) -> Response:
        return JSONResponse(state())

    async def answer(request: Request) -> Response:
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            return JSONResponse({"error": "send JSON"}, 415)
        body = await request.body()
        if len(body) > _LARGEST_BODY:
            return JSONResponse({"error": "too much at once"}, 413)
        try:
            given = _Given.model_validate_json(body, strict=False)
        except ValidationError as error:
            return JSONResponse({"error": error.errors(include_url=False)[0]["msg"]}, 400)
        wrong = _wrong(given, labels, len(task.pictures))
        if wrong:
            return JSONResponse({"error": wrong}, 400)
        chosen = [task.pictures[number] for number in given.pictures]
        changed = [one.path for one in chosen if file_digest(task.root / one.path) != one.digest]
        if changed:
            return JSONResponse({"error": f"{changed[0]} has changed on the disk; start again"}, 409)
        log.append(by, [Answer(one.path, one.digest, given.label, tuple(given.boxes)) for one in chosen])
        return JSONResponse(state())

    def stepping(step: Callable[[str], bool]) -> Callable[[Request], object]:
        async def do(request: Request) -> Response:
            if request.headers.get("content-type", "").partition(";")[0] != "application/json":
                return JSONResponse({"error": "send JSON"}, 415)
            step(by)
            return JSONResponse(state())

        return do

    @lru_cache(maxsize=64)
    def png(number: int, side: int) -> bytes:
        pixels = np.ascontiguousarray(read_image(task.root / task.pictures[number].path))
        if side:
            scale = side / max(pixels.shape[:2])
            height, width = (max(1, round(one * scale)) for one in pixels.shape[:2])
            whole = pixels if pixels.ndim == 3 else pixels[..., None]
            pixels = resize_picture(np.ascontiguousarray(whole), height, width)
        return encode_image(pixels, ".png")

    async def picture(request: Request) -> Response:
        number, side = request.path_params["number"], _THUMB if "thumb" in request.url.path else 0
        if number >= len(task.pictures):
            return Response("no such picture", 404)
        try:
            return Response(png(number, side), media_type="image/png")
        except ImageFileError as error:
            return Response(str(error), 422, media_type="text/plain")

    async def failed(request: Request, error: Exception) -> Response:
        return JSONResponse({"error": str(error)}, 500)

    routes = [
        Route(f"/{token}/", index),
        Route(f"/{token}/state", show_state),
        Route(f"/{token}/answer", answer, methods=["POST"]),
        Route(f"/{token}/undo", stepping(log.undo), methods=["POST"]),
        Route(f"/{token}/redo", stepping(log.redo), methods=["POST"]),
        Route(f"/{token}/picture/{{number:int}}", picture),
        Route(f"/{token}/thumb/{{number:int}}", picture),
    ]
    hosts = Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS)
    return Starlette(routes=routes, middleware=[hosts], exception_handlers={DatasetError: failed})


_ONLY_OURS = "default-src 'self'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src 'self'"


def _wrong(given: _Given, labels: tuple[str, ...], pictures: int) -> str:
    if given.label and given.label not in labels:
        return f"no class is called {json.dumps(given.label)}"
    if any(not 0 <= number < pictures for number in given.pictures):
        return "no such picture"
    if given.boxes and len(given.pictures) > 1:
        return "boxes belong to one picture"
    if any(box.label not in labels for box in given.boxes):
        return "a box has no class of the set"
    if any(min(box.x, box.y) < 0 or min(box.width, box.height) < 1 for box in given.boxes):
        return "a box is empty or lies outside the picture"
    return ""


def _plain(box: Box) -> dict[str, object]:
    return {"label": box.label, "x": box.x, "y": box.y, "width": box.width, "height": box.height}
