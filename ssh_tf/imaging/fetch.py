"""Images from the web, within limits of size and time."""

import time

import urllib3

from ssh_tf.errors import UserError
from ssh_tf.version import __version__

_MAX_BYTES = 64 * 2**20
_SECONDS = 30.0
_REDIRECTS = 5
_PIECE = 2**16


def is_url(source: object) -> bool:
    """Whether `source` is a string that names a file on the web."""
    return isinstance(source, str) and source.lower().startswith(("http://", "https://"))


def fetch(url: str) -> bytes:
    """Downloads a file. Redirects are followed to http and https only.

    Raises:
        UserError: If there is no answer or none with a file, it is larger than 64 MiB, or it takes
            longer than 30 seconds.
    """
    timeout = urllib3.Timeout(connect=5.0, read=10.0)
    retries = urllib3.Retry(total=_REDIRECTS, connect=0, read=0, other=0, redirect=_REDIRECTS)
    # Not compressed: what arrives must not grow in memory.
    headers = {"accept-encoding": "identity", "user-agent": f"ssh-tf/{__version__}"}
    started = time.monotonic()
    try:
        with urllib3.PoolManager(retries=retries, timeout=timeout) as pool:
            answer = pool.request("GET", url, headers=headers, preload_content=False)
            if answer.status != 200:
                raise UserError(f"{url} answered {answer.status} {answer.reason}.")
            return _body(answer, url, started + _SECONDS)
    except urllib3.exceptions.HTTPError as error:
        reason = getattr(error, "reason", None) or error
        raise UserError(f"{url} can't be fetched ({str(reason).split(': ', 1)[-1]}).") from error


def _body(answer: urllib3.BaseHTTPResponse, url: str, deadline: float) -> bytes:
    content = bytearray()
    # `read1` returns what has arrived: a server that sends byte by byte meets the deadline, too.
    while piece := answer.read1(_PIECE, decode_content=False):
        content += piece
        if len(content) > _MAX_BYTES:
            raise UserError(f"{url} is larger than {_MAX_BYTES // 2**20} MiB.")
        if time.monotonic() > deadline:
            raise UserError(f"{url} takes longer than {_SECONDS:.0f} seconds.")
    return bytes(content)
