"""A client over HTTP. It needs neither TensorFlow nor gRPC."""

import base64
import json
import re
from collections.abc import Sequence
from typing import Any

import urllib3

from ssh_tf import signature
from ssh_tf.client.faces import ClientError, Faces, faces_of, in_batches
from ssh_tf.errors import UserError

_RETRIES = 3
_BACKOFF_SECONDS = 0.2

# What `ssh-tf serve` prints and documentation shows: a server alone, a model, a request to it.
_ADDRESS = re.compile(
    r"(?P<url>https?://[^/?#\s]+(?:(?!/v1/models)/[^/?#\s:]+)*)/*"
    r"(?:/v1/models/*(?P<model>(?<=/)[^/?#\s:]+)?(?:/versions/(?P<version>\d+))?"
    r"(?::predict|/metadata)?)?/*"
)


class RestClient:
    """Finds the faces of encoded images over HTTP. Threads may share one.

    Args:
        url: The server, as `http://127.0.0.1:8501`.
        model: The model's name.
        version: One of its versions; by default the newest.
        timeout: Seconds to wait for an answer, or for the next piece of it.
        connections: Requests that threads send at a time.
    """

    def __init__(
        self,
        url: str,
        model: str = "ssh",
        *,
        version: int | None = None,
        timeout: float = 60.0,
        connections: int = 8,
    ) -> None:
        self._url = f"{url.rstrip('/')}/v1/models/{model}"
        self._url += f"/versions/{version}" if version is not None else ""
        # A prediction is sent again only if it never arrived or the server said to wait.
        retries = urllib3.Retry(
            total=_RETRIES,
            connect=_RETRIES,
            read=0,
            redirect=0,
            other=0,
            status_forcelist=[429, 503],
            allowed_methods=None,
            backoff_factor=_BACKOFF_SECONDS,
            backoff_jitter=_BACKOFF_SECONDS,
            raise_on_status=False,
        )
        self._pool = urllib3.PoolManager(
            maxsize=connections,
            block=True,
            retries=retries,
            timeout=urllib3.Timeout(connect=min(timeout, 5.0), read=timeout),
        )

    @classmethod
    def from_address(cls, address: str, **options: Any) -> "RestClient":
        """Returns the client of an address in any form that a server or a document shows.

        Args:
            address: A server, `http://127.0.0.1:8501`; a model of it, with
                `/v1/models/NAME[/versions/N]`; or a request, with `:predict` at the end.
            **options: See `RestClient`.

        Raises:
            UserError: If it is none of these.
        """
        match = _ADDRESS.fullmatch(address.strip())
        if match is None:
            raise UserError(
                f"{address!r} is no REST address. Expected http://HOST:PORT, or one that goes on "
                "with /v1/models/NAME."
            )
        if match["model"]:
            options["model"] = match["model"]
        version = match["version"]
        return cls(match["url"], version=int(version) if version else None, **options)

    def detect(self, images: Sequence[bytes]) -> list[Faces]:
        """Finds the faces of encoded images.

        Args:
            images: Whole files that the model takes, of any sizes.

        Returns:
            The faces of each.

        Raises:
            ClientError: If the server can't be reached, refuses, or answers something else.
        """
        return in_batches(images, self._predict)

    def status(self) -> dict[int, str]:
        """Returns the state of each version: `{2: "AVAILABLE", 1: "END"}`.

        Raises:
            ClientError: As for `detect`.
        """
        answer = self._request("GET", self._url)
        try:
            return {int(v["version"]): v["state"] for v in answer["model_version_status"]}
        except (KeyError, TypeError, ValueError) as error:
            raise ClientError(f"{self._url} gave no model status.", "200") from error

    def __repr__(self) -> str:
        return f"RestClient({self._url!r})"

    def close(self) -> None:
        """Closes the connections."""
        self._pool.clear()

    def __enter__(self) -> "RestClient":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _predict(self, images: Sequence[bytes]) -> list[Faces]:
        encoded = [{"b64": base64.b64encode(image).decode()} for image in images]
        body = json.dumps({"inputs": {signature.IMAGE_BYTES: encoded}}).encode()
        answer = self._request("POST", f"{self._url}:predict", body)
        return faces_of(images, answer.get("outputs"), self._url)

    def _request(self, method: str, url: str, body: bytes | None = None) -> dict[str, Any]:
        headers = {"content-type": "application/json"} if body else None
        try:
            response = self._pool.request(method, url, body=body, headers=headers)
        except urllib3.exceptions.HTTPError as error:
            raise ClientError(f"No answer from {url}: {_reason(error)}") from error
        try:
            answer = json.loads(response.data)
        except (ValueError, RecursionError):
            answer = None
        if response.status != 200:
            error_text = answer.get("error") if isinstance(answer, dict) else response.reason
            message = f"{url} answered {response.status}: {error_text}"
            raise ClientError(message, str(response.status))
        if not isinstance(answer, dict):
            raise ClientError(f"{url} answered something else than a JSON object.", "200")
        return answer


def _reason(error: Exception) -> str:
    """Returns what lies under urllib3's chain of wrappers."""
    reason = getattr(error, "reason", None) or error
    return str(reason).split(": ", 1)[-1] or type(reason).__name__
