"""Counts and times of requests, in Prometheus' text format and under TensorFlow Serving's names."""

import bisect
import threading
from collections import Counter, defaultdict

PATH = "/monitoring/prometheus/metrics"
# Microseconds: 1 ms to 100 s, two steps a decade.
_BOUNDS = tuple(int(10 ** (exponent / 2)) for exponent in range(6, 17))


class Metrics:
    """Requests by entry point and outcome.

    Args:
        model: The served model's name.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._lock = threading.Lock()
        self._count: Counter[tuple[str, str]] = Counter()
        self._buckets: defaultdict[str, list[int]] = defaultdict(lambda: [0] * (len(_BOUNDS) + 1))
        self._microseconds: Counter[str] = Counter()

    def record(self, entrypoint: str, code: str, seconds: float) -> None:
        """Counts one answered prediction.

        Args:
            entrypoint: `"REST"` or `"GRPC"`.
            code: `"OK"` or the error's code.
            seconds: From the whole request to the answer.
        """
        microseconds = round(seconds * 1e6)
        with self._lock:
            self._count[entrypoint, code] += 1
            self._buckets[entrypoint][bisect.bisect_left(_BOUNDS, microseconds)] += 1
            self._microseconds[entrypoint] += microseconds

    def text(self) -> str:
        """Returns the page that Prometheus reads."""
        with self._lock:
            lines = ["# TYPE :tensorflow:serving:request_count counter"]
            for (entrypoint, code), count in sorted(self._count.items()):
                labels = f'model_name="{self._model}",entrypoint="{entrypoint}",status="{code}"'
                lines.append(f":tensorflow:serving:request_count{{{labels}}} {count}")
            lines.append("# TYPE :tensorflow:serving:request_latency histogram")
            for entrypoint in sorted(self._buckets):
                lines += self._histogram(entrypoint)
        return "\n".join(lines) + "\n"

    def _histogram(self, entrypoint: str) -> list[str]:
        name = ":tensorflow:serving:request_latency"
        labels = f'model_name="{self._model}",API="Predict",entrypoint="{entrypoint}"'
        lines, total = [], 0
        for bound, count in zip((*_BOUNDS, "+Inf"), self._buckets[entrypoint], strict=True):
            total += count
            lines.append(f'{name}_bucket{{{labels},le="{bound}"}} {total}')
        lines.append(f"{name}_sum{{{labels}}} {self._microseconds[entrypoint]}")
        lines.append(f"{name}_count{{{labels}}} {total}")
        return lines
