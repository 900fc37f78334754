"""The records builder: throughput beside a plain loop, cost per image, memory, and kills.

    python benchmarks/records.py [--images 12880] [--kills 5] [--wider_root DIR]

Throughput: 900 photo-like JPEGs of 1024 x 768 px, by `build_records` with all cores and by a plain
loop of one thread (read, decode, official boxes, example, `tf.io.TFRecordWriter`, checksum), in
turns; medians. Cost per image: sets of 100 to `--images` small JPEGs. Kills: builds of such a set,
stopped by SIGKILL at random moments and begun again until they end, against an undisturbed one,
byte for byte; with `--wider_root` also of its `train` split. Linux only. Ends with one JSON line.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from ssh_tf.data.annotations import AnnotatedImage
from ssh_tf.data.readers.wider import split_layout, write_annotations

PHOTOS, ROUNDS = 900, 3


def photo(height: int, width: int, rng: np.random.Generator) -> bytes:
    """Returns a JPEG of smooth colors with some noise, of about a photo's bytes per pixel."""
    coarse = rng.integers(0, 256, (height // 24, width // 24, 3), dtype=np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    noisy = np.clip(image + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8)
    return cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()


def write_set(root: Path, images: int, size: tuple[int, int]) -> None:
    """Writes a split whose images are links to a dozen files, each with ten faces."""
    rng = np.random.default_rng(0)
    layout = split_layout(root, "train")
    (layout.images_dir / "0--Parade").mkdir(parents=True)
    layout.annotations.parent.mkdir(parents=True)
    files = [layout.images_dir / f"{i}.jpg" for i in range(12)]
    for file in files:
        file.write_bytes(photo(*size, rng))
    entries = []
    for i in range(images):
        name = f"0--Parade/{i}.jpg"
        os.link(files[i % 12], layout.images_dir / name)
        boxes = rng.integers(1, min(size) // 2, (10, 4)).astype(np.float32)
        entries.append(AnnotatedImage(name, boxes, np.zeros((10, 6), np.int64)))
    write_annotations(layout.annotations, entries)


def build(root: Path, out: Path, workers: int) -> float:
    """Builds records and returns the seconds."""
    from ssh_tf.data.builder import build_records
    from ssh_tf.data.sources import open_wider

    shutil.rmtree(out, ignore_errors=True)
    started = time.perf_counter()
    build_records(open_wider(root, "train"), out, shards=8, workers=workers)
    return time.perf_counter() - started


def plain_loop(root: Path, out: Path) -> float:
    """The same checks and records by one thread; returns the seconds."""
    import tensorflow as tf

    from ssh_tf.data.annotations import training_corners
    from ssh_tf.data.checks import checked_size
    from ssh_tf.data.manifest import file_sha256
    from ssh_tf.data.readers.wider import read_annotations
    from ssh_tf.data.records import to_example

    out.mkdir(exist_ok=True)
    started = time.perf_counter()
    layout = split_layout(root, "train")
    path = out / "plain.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for entry in read_annotations(layout.annotations):
            file = layout.images_dir / entry.name
            encoded = file.read_bytes()
            size = checked_size(encoded, str(file))
            corners, kept = training_corners(entry.boxes, *size)
            attributes = entry.attributes[kept]
            example = to_example(
                encoded, name=entry.name, size=size, corners=corners, attributes=attributes
            )
            writer.write(example)
    file_sha256(path)
    return time.perf_counter() - started


def status_mib(key: str) -> float:
    """Returns a line of this process' status: VmRSS, memory now; VmHWM, the most it was."""
    status = Path("/proc/self/status").read_text()
    return int(re.findall(rf"{key}:\s+(\d+) kB", status)[0]) / 1024


def measure_memory(root: Path, out: Path, workers: int) -> float:
    """Builds in this process, which must be new; returns MiB above TensorFlow's own."""
    from ssh_tf.imaging.decoder import decode

    decode(photo(64, 96, np.random.default_rng(0)))
    Path("/proc/self/clear_refs").write_text("5")  # begins VmHWM anew
    before = status_mib("VmRSS")
    build(root, out, workers)
    return status_mib("VmHWM") - before


def in_process(function: object, *arguments: object) -> float:
    """Runs a function in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return float(pool.apply(function, arguments))


def contents(folder: Path) -> dict[str, str]:
    """Returns name to checksum of all files of a data set.

    Folders are what killed writers leave; the next writer removes them after a minute.
    """
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != ".lock")
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def survive(root: Path, folder: Path, kills: int, workers: int) -> dict[str, object]:
    """Kills builds at random moments and compares the end with an undisturbed build."""
    straight, out = folder / "straight", folder / "killed"
    command = [sys.executable, "-m", "ssh_tf.cli", "records", "--wider_root", str(root)]
    command += ["--workers", str(workers)]
    started = time.perf_counter()
    subprocess.run([*command, "--out", str(straight)], check=True, capture_output=True)
    seconds = time.perf_counter() - started
    rng, moments = random.Random(0), []
    for _ in range(kills):
        # Not before TensorFlow is there, which takes the first seconds.
        moments.append(rng.uniform(0.4, 0.98) * seconds)
        process = subprocess.Popen([*command, "--out", str(out)], stderr=subprocess.DEVNULL)
        time.sleep(moments[-1])
        process.send_signal(signal.SIGKILL)
        process.wait()
    if not (out / "manifest.json").exists():
        subprocess.run([*command, "--out", str(out)], check=True, capture_output=True)
    single = folder / "single"
    one = [*command[:-1], "1", "--out", str(single)]
    subprocess.run(one, check=True, capture_output=True)
    return {
        "undisturbed_s": round(seconds, 1),
        "killed_after_s": [round(moment, 1) for moment in moments],
        "same_bytes": contents(out) == contents(straight),
        "same_bytes_with_one_worker": contents(single) == contents(straight),
    }


def main() -> None:
    """Measures all parts and prints the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=12_880)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--wider_root", type=Path)
    options = parser.parse_args()
    results: dict[str, object] = {"workers": options.workers}

    def report(name: str, value: object) -> None:
        results[name] = value
        print(f"{name}: {value}", flush=True)

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_set(folder / "photos", PHOTOS, (768, 1024))
        build(folder / "photos", folder / "out", options.workers)  # warms up
        turns = [
            (
                plain_loop(folder / "photos", folder / "plain"),
                build(folder / "photos", folder / "out", options.workers),
            )
            for _ in range(ROUNDS)
        ]
        plain, ours = (statistics.median(column) for column in zip(*turns, strict=True))
        report("plain_images_per_s", round(PHOTOS / plain, 1))
        report("images_per_s", round(PHOTOS / ours, 1))
        report("ratio", round(plain / ours, 2))
        sizes = [n for n in (100, 1000) if n < options.images] + [options.images]
        costs, memory = {}, {}
        for count in sizes:
            write_set(folder / f"small{count}", count, (96, 128))
            seconds = build(folder / f"small{count}", folder / "out", options.workers)
            costs[count] = round(1000 * seconds / count, 3)
            memory[count] = round(
                in_process(measure_memory, folder / f"small{count}", folder / "out", 2), 1
            )
        report("ms_per_image", costs)
        report("mib_above_tensorflow", memory)
        photos = in_process(measure_memory, folder / "photos", folder / "out", options.workers)
        report("mib_above_tensorflow_photos", round(photos, 1))
        large = folder / f"small{options.images}"
        (folder / "kills").mkdir()
        report("kills", survive(large, folder / "kills", options.kills, options.workers))
        if options.wider_root:
            (folder / "wider").mkdir()
            killed = survive(options.wider_root, folder / "wider", options.kills, options.workers)
            report("kills_wider", killed)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
