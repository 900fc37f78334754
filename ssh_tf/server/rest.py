"""The REST side: TensorFlow Serving's paths and answers, and the page to try the model."""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import Future
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from ssh_tf.server import codec, messages
from ssh_tf.server.codec import Body
from ssh_tf.server.errors import ServingError, internal, invalid, one_line
from ssh_tf.server.limits import Limits
from ssh_tf.server.metrics import PATH, Metrics
from ssh_tf.server.page import page_routes
from ssh_tf.server.runner import Held, Runner, stopping
from ssh_tf.server.versions import Versions

_WHICH = r"(?ai)/v1/models/([^/:]+)(?:/versions/(\d{1,18})|/labels/([^/:]+))?"
_PREDICT = re.compile(_WHICH + ":predict")
_STATUS = re.compile(_WHICH + "(/metadata)?")
# Names the version that answered. TensorFlow Serving's REST does not tell it.
VERSION_HEADER = "x-model-version"
_Answer = tuple[bytes, int]  # A body, and the version that it is of.


def rest_app(versions: Versions, runner: Runner, metrics: Metrics, limits: Limits) -> Starlette:
    """Returns the ASGI application of the REST port."""
    rest = _Rest(versions, runner, metrics, limits)

    async def show_metrics(request: Request) -> Response:
        return PlainTextResponse(metrics.text())

    app = Starlette(
        routes=[
            *page_routes(versions),
            Route(PATH, show_metrics),
            Route("/{path:path}", rest.get, methods=["GET"]),
            Route("/{path:path}", rest.post, methods=["POST"]),
        ],
        exception_handlers={
            ServingError: _answer,
            HTTPException: _answer_http,
            Exception: _answer_bug,
        },
    )
    # A redirect would name the host that the request names, which may be any.
    app.router.redirect_slashes = False
    return app


class _Rest:
    def __init__(
        self, versions: Versions, runner: Runner, metrics: Metrics, limits: Limits
    ) -> None:
        self._versions, self._runner = versions, runner
        self._metrics, self._limits = metrics, limits

    async def get(self, request: Request) -> Response:
        """Status or metadata."""
        match = _match(_STATUS, request)
        name, version, label, metadata = match.groups()
        number = None if version is None else int(version)
        if metadata:
            model = self._versions.get(name, number, label or "")
            return _json(messages.metadata_json(name, model))
        if label:
            self._versions.get(name, label=label)
        return _json(messages.status_json(self._versions.status(name, number)))

    async def post(self, request: Request) -> Response:
        """A prediction: received here, computed in a worker."""
        match = _match(_PREDICT, request)
        held = self._runner.hold()
        body = await self._receive(request, held)
        started, code = time.monotonic(), "INTERNAL"
        encoding = request.headers.get("content-encoding", "").strip().lower()
        try:
            future = self._runner.submit(lambda: self._predict(match, body, encoding), held)
            answer, version = await self._wait(request, future)
            code = "OK"
            return _json(answer, {VERSION_HEADER: str(version)})
        except ServingError as error:
            code = error.code
            raise
        finally:
            self._metrics.record("REST", code, time.monotonic() - started)

    def _predict(self, match: re.Match[str], body: Body, encoding: str) -> _Answer:
        name, version, label = match.groups()
        number = None if version is None else int(version)
        model = self._versions.get(name, number, label or "")
        request = codec.parse(codec.unpack(body, encoding, self._limits.max_body_bytes))
        signature = request.get("signature_name", "")
        inputs = codec.inputs_of(request, model.signature(signature).inputs)
        answer = codec.encode(model.predict(signature, inputs), rows="instances" in request)
        return answer, model.version

    async def _wait(self, request: Request, future: "Future[_Answer]") -> _Answer:
        """Waits for a worker while the client does, and as long as the limit allows."""
        answer, gone = asyncio.wrap_future(future), asyncio.create_task(_until_gone(request))
        first: set[asyncio.Future[Any]] = {answer, gone}
        seconds = self._limits.request_seconds
        try:
            await asyncio.wait(first, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if answer.cancelled():
                raise stopping()
            if answer.done():
                return answer.result()
            if gone.done():
                raise _gone()
            raise ServingError("DEADLINE_EXCEEDED", f"No answer within {seconds:g} s")
        finally:
            answer.cancel()  # What nobody waits for leaves the queue.
            gone.cancel()

    async def _receive(self, request: Request, held: Held) -> Body:
        """Reads the body within its limits of size and time; without one, nothing is held."""
        seconds = self._limits.receive_seconds
        body, parts = bytearray(), request.stream()
        try:
            await asyncio.wait_for(self._read(parts, body, held), seconds)
            return body
        except asyncio.TimeoutError as error:
            held.release()
            message = f"The body was not whole within {seconds:g} s"
            raise ServingError("DEADLINE_EXCEEDED", message, http_status=408) from error
        except ClientDisconnect as error:
            held.release()
            raise _gone() from error
        except ServingError:
            body.clear()
            held.release()
            # A client that is still sending would not see the answer.
            with contextlib.suppress(asyncio.TimeoutError, ClientDisconnect):
                await asyncio.wait_for(_drop(parts), seconds)
            raise

    async def _read(self, parts: AsyncIterator[bytes], body: bytearray, held: Held) -> None:
        limit = self._limits.max_body_bytes
        async for part in parts:
            if len(body) + len(part) > limit:
                raise codec.too_large(limit)
            held.grow(len(part))
            body.extend(part)


async def _drop(parts: AsyncIterator[bytes]) -> None:
    async for _ in parts:
        pass


async def _until_gone(request: Request) -> None:
    """Returns when the client has closed the connection, after its body was read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _gone() -> ServingError:
    return ServingError("CANCELLED", "The client went away.")


def _match(pattern: re.Pattern[str], request: Request) -> re.Match[str]:
    path = request.url.path
    if match := pattern.fullmatch(path):
        return match
    if path.lower().startswith("/v1/"):
        raise invalid(f"Malformed request: {request.method} {path}")
    raise HTTPException(404)


def _json(body: bytes | str, headers: Mapping[str, str] | None = None) -> Response:
    return Response(body, headers=headers, media_type="application/json")


def _error(status: int, message: str) -> Response:
    # What is left of a request that failed half-way must not be taken for the next one.
    headers = {"connection": "close"} if status in (408, 413) else None
    return JSONResponse({"error": one_line(message)}, status, headers)


async def _answer(request: Request, error: Exception) -> Response:
    if not isinstance(error, ServingError):  # Starlette calls it for no other.
        raise error
    return _error(error.http_status, error.message)


async def _answer_http(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):  # Starlette calls it for no other.
        raise error
    return _error(error.status_code, f"{error.detail}: {request.method} {request.url.path}")


async def _answer_bug(request: Request, error: Exception) -> Response:
    return await _answer(request, internal())
