"""Detection and records on Ray: the same results, as fast, in flat memory, whatever dies.

    python benchmarks/scale.py [--faces_root DIR] [--photos 2000] [--only rate,memory,faults,...]

Draws photos (and takes those of a folder in WIDER's layout beside them), detects them with `light`:

- `rate`: on a Ray of two workers and in two plain processes side by side; equal row for row, and at
  least 0.9 of their images per second, start-up left out of both;
- `memory`: the driver's peak with 500 and with 5,000 photos, at most 3 % apart;
- `faults`: three workers killed, then the driver; a bad photo in a hundred; a full disk, where this
  process may mount one: results equal to those of one process that nothing happened to;
- `nodes`: two Ray nodes, started by `ray start`: rows name both.

Ends with one JSON line, and with exit code 1 if something does not hold. 5 minutes on 2 idle cores.
"""

import argparse
import contextlib
import functools
import itertools
import json
import os
import resource
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ssh_tf.distributed.cluster import connected
from ssh_tf.distributed.detect import detect_parts, entries_of
from ssh_tf.distributed.detectors import RayDetectors, load_model
from ssh_tf.distributed.listing import list_inputs
from ssh_tf.distributed.rows import read_rows

SMALL = 160  # px of the shorter side where the rate is not what is measured
LEAST_RATE, MOST_GROWTH = 0.9, 0.03
# A cluster of one's own: who does not have the token can't send it work.
AUTHENTICATION = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
CHECKS = ("rate", "memory", "faults", "nodes")


def draw(folder: Path, count: int, size: tuple[int, int], faces: Path | None) -> Path:
    """Makes a folder of photos: drawn ones, each many times, beside those of a data set."""
    from ssh_tf.data.synthetic import generate
    from ssh_tf.imaging.folders import find_images

    generate(folder / "drawn", images=40, seed=0, split="train", size=size, smallest_px=12)
    drawn = [path for path, _ in find_images([folder / "drawn"]).images]
    real = [] if faces is None else [path for path, _ in find_images([faces]).images]
    photos = folder / f"photos{count}"
    photos.mkdir()
    for i, path in zip(range(count), itertools.chain(real, itertools.cycle(drawn)), strict=False):
        shutil.copy(path, photos / f"{i:05}{path.suffix}")
    return photos


def detect_plainly(photos: list[Path], shorter_px: int | None, go: Path | None) -> dict:
    """Detects in this process, when the file `go` is there; returns entries and seconds."""
    from ssh_tf.inference.gallery import Outputs, detect_files

    detector = model(shorter_px)
    list(detect_files(detector, [(photos[0], Path("a"))], Outputs()))
    if go is not None:
        go.with_name(f"ready{os.getpid()}").touch()
        while not go.exists():
            time.sleep(0.01)
    started = time.monotonic()
    entries = list(detect_files(detector, [(path, Path(path.name)) for path in photos], Outputs()))
    return {"entries": entries, "seconds": time.monotonic() - started}


def settings(shorter_px: int | None) -> dict:
    """What `Detector.load` is given beside the name."""
    return {} if shorter_px is None else {"shorter_px": shorter_px}


def model(shorter_px: int | None) -> object:
    """The detector of this process."""
    from ssh_tf.inference.detector import Detector

    return Detector.load("light", **settings(shorter_px))


def pid(_: object, item: int) -> int:
    """Takes a moment and tells whose it was."""
    time.sleep(0.05)
    return os.getpid()


def detect_on_ray(photos: Path, rows: Path, shorter_px: int | None) -> dict:
    """Detects on a Ray of two workers; returns seconds and this process' peak memory."""
    from ssh_tf.inference.gallery import Outputs

    load = functools.partial(load_model, "light", settings(shorter_px), threads=1)
    with connected("auto"), contextlib.closing(RayDetectors(load)) as detectors:
        while len({result() for _, result in detectors.map(pid, range(8))}) < 2:
            pass  # Until both are ready.
        started = time.monotonic()
        for _ in detect_parts(detectors, list_inputs([str(photos)], []), Outputs(), rows):
            pass
        seconds = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "peak_mb": peak}


def rows_of(folder: Path) -> list[dict]:
    """The entries in a folder of results, in order."""
    return [entry for file in sorted(folder.glob("*.parquet")) for entry in entries_of(file)]


def child(*words: object) -> subprocess.Popen:
    """Starts this program in a role."""
    command = [sys.executable, __file__, *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def answer(process: subprocess.Popen) -> dict:
    """What a child says in the end."""
    out, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"{process.args} failed")
    return json.loads(out.splitlines()[-1])


def check_rate(folder: Path, count: int, faces: Path | None) -> dict:
    """As fast as two plain processes, and the same rows."""
    photos = draw(folder, count, (480, 640), faces)
    go = folder / "go"
    halves = [child("--child", "plain", photos, half, go) for half in (0, 1)]
    while len(list(folder.glob("ready*"))) < 2:
        time.sleep(0.05)
    go.touch()
    plain = [answer(half) for half in halves]
    ray = answer(child("--child", "ray", photos, folder / "rows", ""))
    expected = sorted((e for half in plain for e in half["entries"]), key=lambda e: e["image"])
    rates = {
        "two_processes": count / max(half["seconds"] for half in plain),
        "ray": count / ray["seconds"],
    }
    share = rates["ray"] / rates["two_processes"]
    equal = rows_of(folder / "rows") == expected
    holds = equal and share >= LEAST_RATE
    return {"images_per_second": rates, "share": share, "rows_equal": equal, "holds": holds}


def check_memory(folder: Path) -> dict:
    """The driver's memory does not grow with the photos."""
    peaks = {}
    for count in (500, 5000):
        photos = draw(folder / str(count), count, (96, 128), None)
        found = answer(child("--child", "ray", photos, folder / f"rows{count}", 64))
        peaks[count] = found["peak_mb"]
    growth = peaks[5000] / peaks[500] - 1
    return {"driver_peak_mb": peaks, "growth": growth, "holds": growth <= MOST_GROWTH}


def descendants(process: int) -> Iterator[int]:
    """The process ids below a process."""
    for path in Path("/proc").glob(f"{process}/task/*/children"):
        with contextlib.suppress(OSError):
            for word in path.read_text().split():
                yield int(word)
                yield from descendants(int(word))


def workers(process: int) -> list[int]:
    """Returns the process ids of the detectors that a driver's own Ray has."""
    found = []
    for number in descendants(process):
        with contextlib.suppress(OSError):
            name = Path(f"/proc/{number}/cmdline").read_bytes()
            if name.startswith(b"ray::Worker"):
                found.append(number)
    return found


def start_detect(photos: Path, rows: Path, *more: str) -> subprocess.Popen:
    """Starts the command."""
    words = ["detect", photos, "--shorter_px", SMALL, "--parquet", rows, "--ray", *more]
    command = [sys.executable, "-m", "ssh_tf", *map(str, words)]
    pipes = {"stderr": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env={**os.environ, **AUTHENTICATION}, **pipes)


def wait_for_parts(process: subprocess.Popen, rows: Path, count: int) -> None:
    """Waits for results, or the end."""
    while len(list(rows.glob("part-*"))) < count and process.poll() is None:
        time.sleep(0.02)


def check_faults(folder: Path) -> dict:
    """Nothing is lost and nothing twice, whatever dies."""
    photos = draw(folder, 400, (240, 320), None)
    for path in sorted(photos.iterdir())[50::100]:
        path.write_bytes(path.read_bytes()[:500])
    files = sorted(photos.iterdir())
    expected = detect_plainly(files, SMALL, None)["entries"]
    rows = folder / "rows"
    job, killed = start_detect(photos, rows), 0
    for parts in (4, 12, 20):
        wait_for_parts(job, rows, parts)
        victims = workers(job.pid)
        if victims and job.poll() is None:
            os.kill(victims[0], signal.SIGKILL)
            killed += 1
    wait_for_parts(job, rows, 30)
    left = len(list(rows.glob("part-*")))
    job.kill()
    job.communicate()
    again = start_detect(photos, rows)
    _, lines = again.communicate()
    equal = rows_of(rows) == expected
    said = [line for line in lines.splitlines() if "Failed: " in line]
    full = check_full_disk(folder, photos, expected)
    holds = equal and killed == 3 and again.returncode == 1 and len(said) == 4 and full is not False
    return {
        "workers_killed": killed,
        "parts_when_the_driver_was_killed": left,
        "bad_photos_named": len(said),
        "rows_equal": equal,
        "full_disk": full,
        "holds": holds,
    }


def check_full_disk(folder: Path, photos: Path, expected: list[dict]) -> bool | None:
    """Whether a full disk is said in a line, and the job goes on; None where none can be made."""
    disk = folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        return None
    try:
        job = start_detect(photos, disk / "rows")
        _, lines = job.communicate()
        last = lines.splitlines()[-1]
        print(last, file=sys.stderr)
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        said = job.returncode == 1 and "No space left" in last and "Traceback" not in lines
        start_detect(photos, disk / "rows").communicate()
        return said and rows_of(disk / "rows") == expected
    finally:
        subprocess.run(["umount", str(disk)], check=False)


@contextlib.contextmanager
def ray_node(*words: str) -> Iterator[None]:
    """A node of Ray, as `ray start` makes it, in the foreground of a process of ours."""
    program = Path(sys.executable).with_name("ray")
    command = [str(program), "start", "--block", "--disable-usage-stats", "--num-cpus=1", *words]
    nowhere = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    node = subprocess.Popen(command, env={**os.environ, **AUTHENTICATION}, **nowhere)
    try:
        yield
    finally:
        node.terminate()
        node.wait()


def check_nodes(folder: Path) -> dict:
    """Both of two Ray nodes work."""
    photos = draw(folder, 200, (240, 320), None)
    head = ("--head", "--port=6399", "--include-dashboard=false")
    rows = folder / "rows"
    with ray_node(*head):
        time.sleep(10)
        with ray_node("--address=127.0.0.1:6399"):
            time.sleep(10)
            job = start_detect(photos, rows, "127.0.0.1:6399")
            _, lines = job.communicate()
    found = [row["node"] for file in rows.glob("*.parquet") for row in read_rows(file)]
    counts = [found.count(node) for node in sorted(set(found))]
    holds = job.returncode == 0 and len(counts) == 2 and sum(counts) == 200
    if not holds:
        print(lines, file=sys.stderr)
    return {"images_of_nodes": counts, "holds": holds}


def run_child(role: str, photos: Path, place: str, more: str) -> None:
    """Does one side of a comparison."""
    if role == "plain":
        half = sorted(photos.iterdir())[int(place) :: 2]
        print(json.dumps(detect_plainly(half, None, Path(more))))
    else:
        print(json.dumps(detect_on_ray(photos, Path(place), int(more) if more else None)))


def main() -> int:
    """Runs the checks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faces_root", type=Path, help="photos beside the drawn ones")
    parser.add_argument("--photos", type=int, default=2000, help="for the rate")
    parser.add_argument("--only", default=",".join(CHECKS), help="checks, with commas between")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        role, photos, place, more = arguments.child
        run_child(role, Path(photos), place, more)
        return 0
    report = {}
    with tempfile.TemporaryDirectory() as temporary:
        for name in arguments.only.split(","):
            folder = Path(temporary) / name
            folder.mkdir()
            started = time.monotonic()
            if name == "rate":
                report[name] = check_rate(folder, arguments.photos, arguments.faces_root)
            else:
                check = {"memory": check_memory, "faults": check_faults, "nodes": check_nodes}
                report[name] = check[name](folder)
            report[name]["check_seconds"] = round(time.monotonic() - started)
            print(name, json.dumps(report[name]), file=sys.stderr, flush=True)
    print(json.dumps(report))
    return 0 if all(found["holds"] for found in report.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
