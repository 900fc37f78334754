"""Counts and times of requests for Prometheus, under TensorFlow Serving's names."""

from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest

PATH = "/monitoring/prometheus/metrics"
# Microseconds: 1 ms to 100 s, two steps a decade.
_BOUNDS = [int(10 ** (exponent / 2)) for exponent in range(6, 17)]


class Metrics:
    """Requests by entry point and outcome.

    Args:
        model: The served model's name.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._registry = CollectorRegistry()  # The default one is shared by all of a process.
        # A gauge that only rises: the names of the library's counters all end in `_total`.
        self._count = Gauge(
            ":tensorflow:serving:request_count",
            "Predictions that were answered.",
            ["model_name", "entrypoint", "status"],
            registry=self._registry,
        )
        self._latency = Histogram(
            ":tensorflow:serving:request_latency",
            "Microseconds from a whole request to its answer.",
            ["model_name", "API", "entrypoint"],
            registry=self._registry,
            buckets=_BOUNDS,
        )

    def record(self, entrypoint: str, code: str, seconds: float) -> None:
        """Counts one answered prediction.

        Args:
            entrypoint: `"REST"` or `"GRPC"`.
            code: `"OK"` or the error's code.
            seconds: From the whole request to the answer.
        """
        self._count.labels(self._model, entrypoint, code).inc()
        self._latency.labels(self._model, "Predict", entrypoint).observe(seconds * 1e6)

    def text(self) -> str:
        """Returns the page that Prometheus reads."""
        return generate_latest(self._registry).decode()
