"""What the local server accepts, and for how long."""

import dataclasses
import os


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits of one server.

    Attributes:
        workers: Requests computed at the same time.
        queue: Requests that wait for a worker; the next one is told that the server is busy.
        request_seconds: From a whole request to its answer.
        receive_seconds: For the head of a request, and again for its body.
        max_body_bytes: Of one request, also once it is unpacked.
        max_images: Rows of one request's inputs.
        connections: Open at the same time on the REST port.
    """

    workers: int = dataclasses.field(default_factory=lambda: os.cpu_count() or 1)
    queue: int = 64
    request_seconds: float = 60.0
    receive_seconds: float = 20.0
    max_body_bytes: int = 44 * 2**20  # 32 MiB of image, an export's limit, as base64.
    max_images: int = 64
    connections: int = 512
