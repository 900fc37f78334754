"""The page to try the model: the files of `web/`, joined into one, which runs nothing else."""

import base64
import hashlib
import html
import importlib.resources

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from ssh_tf.server.errors import ServingError
from ssh_tf.server.versions import Versions

_SCRIPTS = ("boxes.js", "view.js", "faces.js", "page.js")
_HEADERS = {
    "cache-control": "no-store",
    "permissions-policy": "camera=(self)",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def page_routes(versions: Versions) -> list[Route]:
    """Returns the routes of the page and of its sample picture."""
    style, script = _text("page.css"), "".join(_text(name) for name in _SCRIPTS)
    page = _text("page.html").replace("{{model}}", html.escape(versions.name))
    headers = {"content-security-policy": _policy(style, script), **_HEADERS}
    sample = _bytes("sample.jpg")

    async def show_page(request: Request) -> Response:
        filled = page.replace("{{version}}", _version(versions))
        # Last: what looks like a place to fill in stays as it is in style and script.
        return HTMLResponse(
            filled.replace("{{style}}", style).replace("{{script}}", script), headers=headers
        )

    async def show_sample(request: Request) -> Response:
        return Response(sample, media_type="image/jpeg", headers=_HEADERS)

    return [Route("/", show_page), Route("/sample.jpg", show_sample)]


def _version(versions: Versions) -> str:
    try:
        return str(versions.get(versions.name).version)
    except ServingError:
        return "not loaded"


def _bytes(name: str) -> bytes:
    return (importlib.resources.files("ssh_tf.server") / "web" / name).read_bytes()


def _text(name: str) -> str:
    return _bytes(name).decode()


def _policy(style: str, script: str) -> str:
    """Returns a policy that allows this style, this script, this server, and nothing else."""
    policy = {
        "default-src": "'none'",
        "script-src": _digest(script),
        "style-src": _digest(style),
        "img-src": "blob: data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{key} {value}" for key, value in policy.items())


def _digest(content: str) -> str:
    hashed = hashlib.sha256(content.encode()).digest()
    return f"'sha256-{base64.b64encode(hashed).decode()}'"
