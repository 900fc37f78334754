"""The local server under load and faults, against direct calls of the same SavedModel.

    python benchmarks/serving.py [--requests 2000] [--clients 32] [--model_dir export/models/ssh]

Without `--model_dir` it exports a network of random weights that scales pictures to 64 x 96 px, and
says how large an export is and how long it loads. Requests of eight pictures are compared with
requests of one. The server is a process of its own, `ssh-tf serve`; the clients are threads of
this one, on the same processors. Two of a hundred requests are hostile. Every answer is compared
with a direct call: boxes to 0.1 px, scores to 1e-4. Ends with one JSON line.
"""

import argparse
import contextlib
import itertools
import json
import logging
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hostile
import numpy as np
import urllib3

from ssh_tf.client.faces import ClientError, Faces
from ssh_tf.client.grpc_client import GrpcClient
from ssh_tf.client.rest import RestClient

SIZES = [(48, 64), (64, 96), (120, 90), (200, 150), (31, 17), (240, 320), (96, 64), (150, 400)]
HOSTILE_EVERY = 50
ROUNDS = 8
RECEIVE_SECONDS = 3
# The server's limits and what a busy machine adds.
PATIENCE_SECONDS = 30

Ask = Callable[[bytes], Faces]


class Server:
    """`ssh-tf serve` as a process."""

    def __init__(self, folder: Path, workers: int) -> None:
        command = [sys.executable, "-m", "ssh_tf.cli", "serve", "--model_dir", str(folder)]
        command += ["--rest_port", "0", "--grpc_port", "0", "--workers", str(workers)]
        command += ["--receive_seconds", str(RECEIVE_SECONDS)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        lines = itertools.islice(self.process.stdout, 3)
        rest, grpc = re.findall(r"127\.0\.0\.1:(\d+)(?=/v1|\n)", "".join(lines))
        self.rest = f"http://127.0.0.1:{rest}"
        self.grpc = f"127.0.0.1:{grpc}"

    def mib(self) -> float:
        """Returns the memory that the process holds now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) / 1024

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Sends a signal and returns the exit status."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECONDS)


@contextlib.contextmanager
def serving(folder: Path, workers: int) -> Iterator[Server]:
    """Yields a server that is stopped at the end, if it still runs."""
    server = Server(folder, workers)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.stop()


def write_model(folder: Path, *, float16: bool = False) -> Path:
    """Exports a network of random weights for small pictures."""
    from ssh_tf.config import DetectConfig, ExportConfig, ModelConfig
    from ssh_tf.export.savedmodel import export_savedmodel
    from ssh_tf.model.weights import build_network

    network = build_network(ModelConfig(weights="random"), seed=0)
    detect = DetectConfig(shorter_px=64, longer_px=96)
    return export_savedmodel(network, detect, folder, ExportConfig(float16=float16))


def footprint(version: Path) -> dict[str, float]:
    """Returns the size of an export and the time to load it."""
    import tensorflow as tf

    size = sum(file.stat().st_size for file in version.rglob("*") if file.is_file())
    started = time.perf_counter()
    tf.saved_model.load(str(version))
    seconds = time.perf_counter() - started
    return {"megabytes": round(size / 1e6, 1), "load_seconds": round(seconds, 2)}


def pictures() -> list[bytes]:
    """Returns smooth random pictures of mixed sizes as JPEG."""
    import cv2

    rng = np.random.default_rng(0)
    coarse = [rng.integers(0, 256, (4, 6, 3), np.uint8) for _ in SIZES]
    resized = [cv2.resize(c, size[::-1]) for c, size in zip(coarse, SIZES, strict=True)]
    return [cv2.imencode(".jpg", image)[1].tobytes() for image in resized]


class Direct:
    """Direct calls of a SavedModel in this process.

    Attributes:
        images: The pictures that all clients ask about.
        answers: The outputs of each.
    """

    def __init__(self, version: Path) -> None:
        import tensorflow as tf

        self._tf, self._loaded = tf, tf.saved_model.load(str(version))
        self._call = self._loaded.signatures["serving_default"]
        self.images = pictures()
        self.answers = [self._one(image) for image in self.images]

    def ask(self, images: list[bytes]) -> dict[str, np.ndarray]:
        """Returns the outputs of one request."""
        outputs = self._call(image_bytes=self._tf.constant(images))
        return {key: value.numpy() for key, value in outputs.items()}

    def run(self, requests: int, workers: int) -> float:
        """Calls from `workers` threads and returns the seconds."""
        work = list(itertools.islice(itertools.cycle(self.images), requests))
        started = time.perf_counter()
        with ThreadPoolExecutor(workers) as threads:
            list(threads.map(self._one, work))
        return time.perf_counter() - started

    def _one(self, image: bytes) -> dict[str, np.ndarray]:
        return {key: value[0] for key, value in self.ask([image]).items()}


def is_right(faces: Faces, answer: dict[str, np.ndarray], size: tuple[int, int]) -> bool:
    """Whether an answer is that of the direct call."""
    count = int(answer["num_detections"])
    if len(faces.scores) != count or faces.status:
        return False
    height, width = size
    boxes = answer["detection_boxes"][:count][:, [1, 0, 3, 2]] * [width, height, width, height]
    return np.allclose(faces.boxes, boxes, atol=0.1) and np.allclose(
        faces.scores, answer["detection_scores"][:count], atol=1e-4
    )


def measure_batches(direct: Direct) -> dict[str, float]:
    """Compares requests of all pictures, eight of mixed sizes, with requests of one, in turns."""
    seconds: Counter[int] = Counter()
    for _, size in itertools.product(range(ROUNDS), (1, len(SIZES))):
        started = time.perf_counter()
        for at in range(0, len(SIZES), size):
            together = direct.ask(direct.images[at : at + size])
        seconds[size] += time.perf_counter() - started
    boxes, scores = (
        np.stack([answer[key] for answer in direct.answers]) - together[key]
        for key in ("detection_boxes", "detection_scores")
    )
    pixels = boxes * np.array([size * 2 for size in SIZES])[:, np.newaxis]
    return {
        "per_second_at_1": round(ROUNDS * len(SIZES) / seconds[1], 2),
        "per_second_at_8": round(ROUNDS * len(SIZES) / seconds[8], 2),
        "box_difference_px": float(np.abs(pixels).max()),
        "score_difference": float(np.abs(scores).max()),
    }


class Load:
    """Requests from many clients, each answered by one of `right`, `wrong`, `refused`, `failed`."""

    def __init__(self, ask: Ask, direct: Direct) -> None:
        self._ask, self._images, self._answers = ask, direct.images, direct.answers
        self._bad = list(hostile.images().values())
        self.outcomes: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.seconds: list[float] = []

    def one(self, number: int) -> None:
        """Sends one request: every 50th is hostile."""
        started = time.perf_counter()
        outcome = self._outcome(number)
        self.seconds.append(time.perf_counter() - started)
        self.outcomes[outcome] += 1

    def run(self, clients: int, numbers: range) -> float:
        """Sends all from `clients` threads and returns the seconds."""
        started = time.perf_counter()
        with ThreadPoolExecutor(clients) as threads:
            list(threads.map(self.one, numbers))
        return time.perf_counter() - started

    def summary(self) -> dict:
        """Returns what became of the requests."""
        p50, p95 = (float(value) for value in np.percentile(self.seconds, [50, 95]))
        return {
            **self.outcomes,
            "p50_ms": round(1000 * p50, 1),
            "p95_ms": round(1000 * p95, 1),
            "longest_s": round(max(self.seconds), 2),
            "errors": dict(self.errors.most_common(5)),
        }

    def _outcome(self, number: int) -> str:
        is_hostile = number % HOSTILE_EVERY == HOSTILE_EVERY - 1
        which = number % len(self._images)
        image = self._bad[number // HOSTILE_EVERY % len(self._bad)]
        try:
            faces = self._ask(image if is_hostile else self._images[which])
        except ClientError as error:
            if is_hostile and error.code in ("400", "INVALID_ARGUMENT"):
                return "refused"
            self.errors[str(error)[:200]] += 1
            return "failed"
        if is_hostile:
            return "refused" if faces.status else "wrong"
        return "right" if is_right(faces, self._answers[which], SIZES[which]) else "wrong"


def asking(client: RestClient | GrpcClient) -> Ask:
    """Returns the call of one image."""
    return lambda image: client.detect([image])[0]


def measure_load(server: Server, ask: Ask, direct: Direct, options: argparse.Namespace) -> dict:
    """Loads the server, after requests that only warm it up.

    Direct calls take turns with the load: the speed of a machine changes with what else it does.
    """
    size = options.requests // ROUNDS
    Load(ask, direct).run(options.clients, range(2 * size))
    mib, load, served, called = server.mib(), Load(ask, direct), 0.0, 0.0
    for start in range(0, ROUNDS * size, size):
        called += direct.run(size, options.workers)
        served += load.run(options.clients, range(start, start + size))
    return {
        **load.summary(),
        "per_second": round(ROUNDS * size / served, 2),
        "direct_per_second": round(ROUNDS * size / called, 2),
        "share_of_direct": round(called / served, 3),
        "mib": round(server.mib(), 1),
        "mib_grown": round(server.mib() - mib, 1),
    }


def versions_under_load(server: Server, folder: Path, load: Load, clients: int) -> dict:
    """Puts a new version and then a broken one into the folder while clients ask."""
    numbers, done = itertools.count(), threading.Event()

    def ask_on() -> None:
        while not done.is_set():
            load.one(next(numbers))

    def wait_for(version: int, state: str) -> None:
        until = time.monotonic() + 4 * PATIENCE_SECONDS
        with RestClient(server.rest) as client:
            while client.status().get(version) != state:
                if time.monotonic() > until:
                    raise SystemExit(f"Version {version} did not become {state}.")
                time.sleep(0.1)

    newest = max(int(path.name) for path in folder.iterdir() if path.name.isdecimal())
    with ThreadPoolExecutor(clients) as threads:
        waiting = [threads.submit(ask_on) for _ in range(clients)]
        try:
            shutil.copytree(folder / str(newest), folder / ".new")
            (folder / ".new").rename(folder / str(newest + 1))
            wait_for(newest + 1, "AVAILABLE")
            (folder / str(newest + 2)).mkdir()
            (folder / str(newest + 2) / "saved_model.pb").write_bytes(b"broken")
            wait_for(newest + 2, "END")
            wait_for(newest + 1, "AVAILABLE")
        finally:
            done.set()
        for future in waiting:
            future.result()
    return {**load.outcomes, "errors": dict(load.errors.most_common(5))}


def kill_under_load(server: Server, load: Load, options: argparse.Namespace) -> dict:
    """Kills the server in the middle of the requests; every client must hear of it."""
    quarter = options.requests // 4

    def one(number: int) -> None:
        if number == quarter // 2:
            server.stop(signal.SIGKILL)
        load.one(number)

    with ThreadPoolExecutor(options.clients) as threads:
        list(threads.map(one, range(quarter)))
    return {**load.outcomes, "longest_s": round(max(load.seconds), 2)}


def ask_hostile(server: Server) -> dict[str, tuple[str, float]]:
    """Sends every kind of hostile request; returns the answer and the seconds of each."""
    results = {}
    with RestClient(server.rest) as rest, GrpcClient(server.grpc) as grpc:
        for name, data in hostile.images().items():
            for client, protocol in ((rest, "REST"), (grpc, "gRPC")):
                results[f"{protocol}, {name}"] = timed(lambda c=client, d=data: verdict(c, d))
    pool = urllib3.PoolManager(retries=False, timeout=2 * PATIENCE_SECONDS)
    for name, (body, headers) in hostile.bodies().items():
        results[f"body, {name}"] = timed(
            lambda b=body, h=headers: str(
                pool.request("POST", server.rest + hostile.PREDICT, body=b, headers=h).status
            )
        )
    for name, data in hostile.streams().items():
        results[f"stream, {name}"] = timed(lambda d=data: stream(server, d))
    return results


def timed(call: Callable[[], str]) -> tuple[str, float]:
    """Returns the answer and its seconds."""
    started = time.perf_counter()
    answer = call()
    return answer, time.perf_counter() - started


def verdict(client: RestClient | GrpcClient, data: bytes) -> str:
    """Returns the code of the error, the status of the image, or `accepted`."""
    try:
        (faces,) = client.detect([data])
    except ClientError as error:
        return error.code or str(error)
    return f"status {faces.status}" if faces.status else "accepted"


def stream(server: Server, data: bytes) -> str:
    """Sends bytes on a bare connection and returns the HTTP status of the answer."""
    port = int(server.rest.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port), timeout=2 * PATIENCE_SECONDS) as connection:
        connection.sendall(data)
        answer = connection.recv(4096).decode()
    return answer.split(" ")[1] if answer.startswith("HTTP/1.1 ") else "closed"


_CLEAR = re.compile(r"4\d\d|status [1-9]\d*|INVALID_ARGUMENT|RESOURCE_EXHAUSTED")


def parse_arguments() -> argparse.Namespace:
    """Reads the flags."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--model_dir", type=Path, help="folder of versions; only read")
    return parser.parse_args()


def main() -> None:
    """Runs all parts and prints a line for each and the JSON line."""
    options = parse_arguments()
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # It reports every retry.
    results: dict[str, object] = {"benchmark": "serving", **vars(options)}
    results["model_dir"] = str(options.model_dir or "generated")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "ssh"
        if options.model_dir:
            newest = max(int(p.name) for p in options.model_dir.iterdir() if p.name.isdecimal())
            shutil.copytree(options.model_dir / str(newest), folder / "1")
        else:
            half = write_model(Path(temporary) / "half", float16=True)
            exports = {"float32": footprint(write_model(folder)), "float16": footprint(half)}
            results["export"] = exports
            print(f"export: {exports}", flush=True)
        results |= run_parts(folder, Direct(folder / "1"), options)
    print(json.dumps(results))


def run_parts(folder: Path, direct: Direct, options: argparse.Namespace) -> dict[str, object]:
    """Runs load and faults, each with a line of its own."""
    results: dict[str, object] = {}

    def report(name: str, value: object) -> None:
        results[name] = value
        print(f"{name}: {value}", flush=True)

    report("batches", measure_batches(direct))
    with (
        serving(folder, options.workers) as server,
        RestClient(server.rest, connections=options.clients) as rest,
        GrpcClient(server.grpc) as grpc,
    ):
        report("rest", measure_load(server, asking(rest), direct, options))
        report("grpc", measure_load(server, asking(grpc), direct, options))
        report("versions", versions_under_load(server, folder, Load(asking(rest), direct), 8))
        answers = ask_hostile(server)
        unclear = {k: v[0] for k, v in answers.items() if not _CLEAR.fullmatch(v[0])}
        longest = max(answers, key=lambda name: answers[name][1])
        report("hostile_kinds", len(answers))
        report("hostile_unclear", unclear)
        report("hostile_longest", [longest, round(answers[longest][1], 2)])
        report("stopped_with", server.stop())
    for name in ("rest", "grpc"):
        with serving(folder, options.workers) as server:
            client = (
                RestClient(server.rest, timeout=PATIENCE_SECONDS, connections=options.clients)
                if name == "rest"
                else GrpcClient(server.grpc, timeout=PATIENCE_SECONDS)
            )
            with client:
                report(
                    f"killed_{name}", kill_under_load(server, Load(asking(client), direct), options)
                )
    return results


if __name__ == "__main__":
    main()
