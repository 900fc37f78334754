"""Tests of images from the web."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ssh_tf.errors import UserError
from ssh_tf.imaging import fetch as module
from ssh_tf.imaging.fetch import fetch, is_url

BODY = bytes(range(256)) * 40


class Handler(BaseHTTPRequestHandler):
    """Answers by the path."""

    def do_GET(self) -> None:
        kind = self.path.strip("/")
        redirects = {"moved": "/good", "file": "file:///etc/passwd", "loop": "/loop"}
        if kind in redirects:
            self.send_response(302)
            self.send_header("location", redirects[kind])
            self.end_headers()
            return
        self.send_response(404 if kind == "absent" else 200)
        self.send_header("content-length", str(len(BODY) * (2 if kind == "short" else 1)))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("path", ["good", "moved"])
def test_a_file_is_fetched_also_from_where_it_moved(address: str, path: str):
    assert fetch(f"{address}/{path}") == BODY


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("absent", r"answered 404 Not Found\."),
        ("file", r"can't be fetched \("),
        ("loop", r"can't be fetched \(.*too many redirects"),
        ("short", r"can't be fetched \(.*bytes"),
    ],
)
def test_what_is_no_file_is_named_with_its_reason(address: str, path: str, reason: str):
    with pytest.raises(UserError, match=rf"^{address}/{path} {reason}"):
        fetch(f"{address}/{path}")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/a.jpg", "http://[/a.jpg", "http:///a.jpg"])
def test_an_address_without_a_server_is_named(url: str):
    with pytest.raises(UserError, match=r"^http:.* can't be fetched \(.+\)\.$"):
        fetch(url)


def test_size_and_time_are_limited(address: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_MAX_BYTES", len(BODY) - 1)
    with pytest.raises(UserError, match="/good is larger than 0 MiB"):
        fetch(f"{address}/good")
    monkeypatch.setattr(module, "_MAX_BYTES", len(BODY))
    assert fetch(f"{address}/good") == BODY
    monkeypatch.setattr(module, "_SECONDS", -1.0)
    with pytest.raises(UserError, match="/good takes longer than -1 seconds"):
        fetch(f"{address}/good")


@pytest.mark.parametrize("text", ["http://a/b.jpg", "HTTPS://a/b.jpg"])
def test_urls_are_known_by_their_scheme(text: str):
    assert is_url(text)


@pytest.mark.parametrize("source", ["ftp://a/b.jpg", "file:///a.jpg", "http.jpg", b"http://a", 3])
def test_other_things_are_no_urls(source: object):
    assert not is_url(source)
