"""The authors' released weights: downloaded, unpacked, converted, kept.

References:
    `scripts/download_ssh_model.sh` of the official code, which fetches `SSH_models.tar.gz`.
"""

import contextlib
import shutil
import tarfile
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from urllib.request import getproxies, proxy_bypass

import urllib3

from ssh_tf.errors import UserError, explain
from ssh_tf.files import cache_folder, folder_lock, output_folder
from ssh_tf.progress import Progress
from ssh_tf.version import __version__

URL = "https://bit.ly/3j6ofwl"

_FILE = "official.weights.h5"
_GZIP = b"\x1f\x8b"
_MIB = 2**20
# The released archive has some 80 MB. What has much more is something else.
_LARGEST_BYTES = 1024 * _MIB
# Whole download; a line of 1 Mbit/s needs twelve minutes.
_SECONDS = 3600.0


def official_file(progress: Progress, url: str = URL) -> Path:
    """Returns the official weights as a `.weights.h5` file in the cache.

    Args:
        progress: Told of each MiB that arrives.
        url: Where the archive is.

    Raises:
        UserError: If it can't be downloaded, is not the archive, or can't be kept. Nothing of it is
            left then.
    """
    converted = cache_folder() / "models" / _FILE
    if converted.is_file():
        return converted
    folder = output_folder(converted.parent)
    with folder_lock(folder, "download"), _advice(url):
        if not converted.is_file():  # Another process may have just finished.
            with tempfile.TemporaryDirectory(prefix=".tmp-", dir=folder) as workspace:
                archive, weights = Path(workspace) / "archive", Path(workspace) / "w.caffemodel"
                download(url, archive, progress)
                extract_caffemodel(archive, weights, url)
                _convert(weights, converted)
    return converted


def _convert(weights: Path, converted: Path) -> None:
    from ssh_tf.model.weights import load_network, save_network

    save_network(load_network(weights), converted)


@contextlib.contextmanager
def _advice(url: str) -> Iterator[None]:
    """Turns an error of the disk into the user's."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"The model from {url} can't be kept in {cache_folder()}: {explain(error)} SSH_TF_HOME "
            "names another folder."
        ) from error


def download(url: str, file: Path, progress: Progress) -> None:
    """Downloads a gzip archive.

    Args:
        url: http or https; redirects and the proxies of the environment are followed.
        file: Written.
        progress: Told of each MiB.

    Raises:
        UserError: If there is no answer, or it is a page, too large, or ends early.
    """
    headers = {"accept-encoding": "identity", "user-agent": f"ssh-tf/{__version__}"}
    timeout = urllib3.Timeout(connect=10.0, read=30.0)
    remedy = "Download it in a browser, unpack it, and name SSH.caffemodel as the model."
    try:
        with _pool(url) as pool, file.open("wb") as out:
            answer = pool.request(
                "GET", url, headers=headers, timeout=timeout, preload_content=False
            )
            with contextlib.closing(answer):
                if answer.status != 200:
                    raise UserError(f"{url} answered {answer.status} {answer.reason}. {remedy}")
                received = _store(answer, out, url, progress)
    except urllib3.exceptions.HTTPError as error:
        reason = str(getattr(error, "reason", None) or error).split(": ", 1)[-1]
        raise UserError(f"{url} can't be downloaded ({reason}). {remedy}") from error
    expected = answer.headers.get("content-length")
    if expected and expected.isdecimal() and int(expected) != received:
        raise UserError(f"{url} ended after {received:,} of {expected} bytes. Try again.")


def _pool(url: str) -> urllib3.PoolManager:
    """Follows the proxy that the environment names, as every program does."""
    scheme, _, rest = url.partition("://")
    proxy = None if proxy_bypass(rest.partition("/")[0]) else getproxies().get(scheme)
    retries = urllib3.Retry(total=5, connect=2, read=0, redirect=5)
    return (
        urllib3.ProxyManager(proxy, retries=retries)
        if proxy
        else urllib3.PoolManager(retries=retries)
    )


def _store(answer: urllib3.BaseHTTPResponse, out: IO[bytes], url: str, progress: Progress) -> int:
    """Writes what arrives; returns its length."""
    length = answer.headers.get("content-length") or "0"
    tick = progress("download", int(length) // _MIB if length.isdecimal() else 0)
    received, deadline = 0, time.monotonic() + _SECONDS
    while piece := answer.read(_MIB, decode_content=False):
        if received == 0 and not piece.startswith(_GZIP):
            kind = answer.headers.get("content-type", "something else")
            raise UserError(
                f"{url} gave {kind} instead of an archive: perhaps a proxy's or a login page. "
                "Open it in a browser to see."
            )
        received += len(piece)
        if received > _LARGEST_BYTES or time.monotonic() > deadline:
            raise UserError(f"{url} is larger or slower than this model can be. Try again later.")
        out.write(piece)
        tick()
    return received


def extract_caffemodel(archive: Path, file: Path, origin: str) -> None:
    """Copies the one `.caffemodel` of a `.tar.gz` to `file`; no path in it decides anything.

    Args:
        archive: The archive.
        file: Written.
        origin: Names the archive in errors.

    Raises:
        UserError: If it is damaged, or has none or several.
    """
    found = 0
    try:
        with tarfile.open(archive, "r|gz") as members:  # As a stream: nothing is looked up twice.
            for member in members:
                if not (member.isfile() and member.name.endswith(".caffemodel")):
                    continue
                found += 1
                content = members.extractfile(member)
                if found > 1 or content is None or member.size > _LARGEST_BYTES:
                    break
                with file.open("wb") as out:
                    shutil.copyfileobj(content, out, _MIB)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise UserError(f"{origin} is not a whole archive ({error}). Try again.") from error
    if found != 1 or not file.is_file():
        raise UserError(
            f"{origin} holds {found or 'no'} .caffemodel, expected one. Try again later."
        )
