"""What the local server accepts, and for how long."""

import dataclasses
import os
from collections.abc import Mapping

# From what to what a limit can be set. Threads, timers and gRPC's 32 bits take no more.
RANGES: Mapping[str, tuple[float, float]] = {
    "workers": (1, 1024),
    "queue": (0, 4096),
    "request_seconds": (0.01, 86_400),
    "receive_seconds": (0.01, 86_400),
    "max_body_bytes": (1024, 2**31 - 1),
    "max_images": (1, 2**20),
    "connections": (1, 65_536),
}
# Bodies of the largest size that all requests together may hold.
_LARGEST_BODIES = 8


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits of one server.

    Attributes:
        workers: Requests computed at the same time.
        queue: Requests that wait for a worker; the next one is answered with "busy".
        request_seconds: From a whole request to its answer.
        receive_seconds: For the head of a request, and again for its body.
        max_body_bytes: Of one request, also once it is unpacked.
        max_images: Rows of one request's inputs.
        connections: Open at the same time on the REST port.

    Raises:
        ValueError: If one is out of its range in `RANGES`.
    """

    workers: int = dataclasses.field(default_factory=lambda: os.cpu_count() or 1)
    queue: int = 64
    request_seconds: float = 60.0
    receive_seconds: float = 20.0
    max_body_bytes: int = 44 * 2**20  # 32 MiB of image, an export's limit, as base64.
    max_images: int = 64
    connections: int = 512

    def __post_init__(self) -> None:
        for name, (least, most) in RANGES.items():
            value = getattr(self, name)
            if not least <= value <= most:  # NaN is in no range.
                raise ValueError(f"{name} must be from {least} to {most}. Received: {value}.")

    @property
    def held_bytes(self) -> int:
        """Of the bodies of all requests that are received, wait or are computed."""
        return _LARGEST_BODIES * self.max_body_bytes
