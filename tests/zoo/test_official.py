"""Tests of the download of the official weights, against a server that the test starts."""

import io
import tarfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ssh_tf.errors import UserError
from ssh_tf.files import folder_lock
from ssh_tf.progress import silent
from ssh_tf.zoo import official

WEIGHTS = b"layers" * 50_000


def archive(names: tuple[str, ...] = ("SSH/SSH.caffemodel", "SSH/readme.txt")) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as file:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(WEIGHTS)
            file.addfile(member, io.BytesIO(WEIGHTS))
    return content.getvalue()


class Server:
    """Answers every request with what a test gives it."""

    body: bytes = archive()
    kind: str = "application/gzip"
    missing: int = 0  # bytes that the length promises and that do not come
    status: int = 200
    requests: int = 0

    def __init__(self) -> None:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests += 1
                if self.path == "/moved":
                    self.send_response(302)
                    self.send_header("location", "/archive")
                    self.end_headers()
                    return
                self.send_response(outer.status)
                self.send_header("content-type", outer.kind)
                self.send_header("content-length", str(len(outer.body) + outer.missing))
                self.end_headers()
                self.wfile.write(outer.body)

            def log_message(self, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.http.shutdown()
    running.http.server_close()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; what is unpacked is copied instead of converted."""
    monkeypatch.setenv("SSH_TF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(
        official, "_convert", lambda weights, kept: kept.write_bytes(weights.read_bytes())
    )
    return tmp_path / "home"


def left(cache: Path) -> list[str]:
    return [path.name for path in cache.rglob("*") if path.is_file() and path.name != ".lock"]


def test_archive_is_fetched_once_and_its_weights_are_kept(cache: Path, server: Server):
    steps: list[int] = []

    def progress(stage: str, total: int) -> Callable[[], None]:
        return lambda: steps.append(total)

    file = official.official_file(progress, f"{server.url}/moved")
    assert file.read_bytes() == WEIGHTS
    assert steps
    assert left(cache) == ["official.weights.h5"]
    asked = server.requests
    assert official.official_file(silent, f"{server.url}/moved") == file
    assert server.requests == asked


def page(server: Server) -> None:
    server.body, server.kind = b"<html>Please log in</html>", "text/html"


def cut(server: Server) -> None:
    server.missing = 1000


def half(server: Server) -> None:
    server.body = archive()[:300]


def no_weights(server: Server) -> None:
    server.body = archive(("SSH/readme.txt",))


def two_weights(server: Server) -> None:
    server.body = archive(("a.caffemodel", "b.caffemodel"))


def gone(server: Server) -> None:
    server.status = 404


def empty(server: Server) -> None:
    server.body = b""


def not_tar(server: Server) -> None:
    server.body = b"\x1f\x8b" + bytes(100)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (page, "gave text/html instead of an archive"),
        (cut, "ended after|can't be downloaded"),
        (half, "not a whole archive"),
        (no_weights, "no .caffemodel"),
        (two_weights, "2 .caffemodel"),
        (gone, "404"),
        (empty, "not a whole archive"),
        (not_tar, "not a whole archive"),
    ],
)
def test_bad_answer_is_one_line_and_leaves_nothing(
    cache: Path, server: Server, spoil: Callable[[Server], None], words: str
):
    spoil(server)
    with pytest.raises(UserError, match=words) as caught:
        official.official_file(silent, server.url)
    assert "\n" not in str(caught.value)
    assert left(cache) == []


@pytest.mark.parametrize("name", ["../../evil.caffemodel", "/evil.caffemodel", "a/../b.caffemodel"])
def test_paths_of_an_archive_decide_nothing(cache: Path, server: Server, name: str):
    server.body = archive((name,))
    official.official_file(silent, server.url)
    assert left(cache) == ["official.weights.h5"]
    assert not list(cache.parent.rglob("evil*"))


def test_link_in_an_archive_is_not_followed(cache: Path, server: Server):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as file:
        link = tarfile.TarInfo("SSH.caffemodel")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        file.addfile(link)
    server.body = content.getvalue()
    with pytest.raises(UserError, match=r"no \.caffemodel"):
        official.official_file(silent, server.url)


def test_no_network_names_the_remedy(cache: Path):
    with pytest.raises(UserError, match=r"can't be downloaded.*name SSH.caffemodel"):
        official.official_file(silent, "http://127.0.0.1:9")
    assert left(cache) == []


def test_second_download_at_the_same_time_is_refused(cache: Path, server: Server):
    (cache / "models").mkdir(parents=True)
    with (
        folder_lock(cache / "models", "download"),
        pytest.raises(UserError, match="another process works on this download"),
    ):
        official.official_file(silent, server.url)


def test_cache_that_is_no_folder_is_one_line(
    cache: Path, server: Server, monkeypatch: pytest.MonkeyPatch
):
    cache.write_text("a file")
    with pytest.raises(UserError, match="not writable"):
        official.official_file(silent, server.url)


def test_full_disk_is_one_line(cache: Path, server: Server, monkeypatch: pytest.MonkeyPatch):
    def full(archive: Path, file: Path, origin: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(official, "extract_caffemodel", full)
    with pytest.raises(UserError, match=r"No space left.*SSH_TF_HOME"):
        official.official_file(silent, server.url)
    assert left(cache) == []
