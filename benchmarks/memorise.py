"""Can the full network learn a few real images by heart? Trains on them, then scores on them.

    python benchmarks/memorise.py --wider_root DIR --out runs/memorise

Takes the first images of a split in WIDER's layout whose faces are all large enough for the anchors
(20 px at network scale), since a face that no anchor matches can't be learned. Prints the AP, the
loss and the seconds after each round of steps, and ends with one JSON line.
"""

import argparse
import json
import shutil
import time
from pathlib import Path

import cv2

from ssh_tf.config import validate
from ssh_tf.data.annotations import AnnotatedImage
from ssh_tf.data.builder import build_records
from ssh_tf.data.readers.wider import find_split, read_annotations, split_layout, write_annotations
from ssh_tf.data.sources import open_wider
from ssh_tf.evaluation.run import evaluate_wider, open_annotated
from ssh_tf.inference.detector import Detector
from ssh_tf.training.table import Logs
from ssh_tf.training.trainer import train

SMALLEST_PX = 20
LONGER_PX = 416


def choose(wider_root: Path, split: str, count: int) -> list[AnnotatedImage]:
    """Returns the first `count` images that have 2 to 8 faces, all large enough."""
    source = find_split(wider_root, split)
    chosen = []
    for image in read_annotations(source.annotations):
        pixels = cv2.imread(str(source.images_dir / image.name))
        scale = LONGER_PX / max(pixels.shape[:2])
        if 2 <= len(image.boxes) <= 8 and image.boxes[:, 2:].min() * scale >= SMALLEST_PX:
            chosen.append(image)
    return chosen[:count]


def copy_split(wider_root: Path, split: str, images: list[AnnotatedImage], out: Path) -> None:
    """Writes the chosen images as a split of their own."""
    source, target = find_split(wider_root, split), split_layout(out, split)
    for image in images:
        file = target.images_dir / image.name
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source.images_dir / image.name, file)
    target.annotations.parent.mkdir(parents=True, exist_ok=True)
    write_annotations(target.annotations, images)


def main() -> None:
    """Parses the flags and runs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wider_root", type=Path, required=True)
    parser.add_argument("--split", default="train")
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--precision", default="float32")
    arguments = parser.parse_args()

    images = choose(arguments.wider_root, arguments.split, arguments.images)
    copy_split(arguments.wider_root, arguments.split, images, arguments.out / "wider")
    source = open_wider(arguments.out / "wider", arguments.split)
    build_records(source, arguments.out / "records", shards=1)
    config = validate(
        {
            "model": {"weights": "random"},
            "loss": {"samples": 128},
            "data": {
                "records": str(arguments.out / "records"),
                "shorter_px": LONGER_PX,
                "longer_px": LONGER_PX,
                "flip": False,
            },
            "train": {
                "optimizer": "adam",
                "schedule": "cosine",
                "learning_rate": 3e-4,
                "warmup_steps": 50,
                "steps": arguments.steps,
                "images_per_update": 2,
                "images_per_replica": 2,
                "frozen": [],
                "precision": arguments.precision,
                "checkpoint_every": 200,
                "log_every": 25,
            },
            "detect": {"shorter_px": LONGER_PX, "longer_px": LONGER_PX},
        },
        origin="memorise",
    )
    started = time.monotonic()
    run = arguments.out / "run"

    def on_step(step: int, logs: Logs) -> None:
        if logs:
            print(
                f"{step:5} loss {logs['loss']:.4f} {time.monotonic() - started:6.0f} s", flush=True
            )

    train(config, run, on_step=on_step)
    seconds = time.monotonic() - started
    curves = evaluate_wider(
        Detector.load(run),
        open_annotated(arguments.out / "wider", arguments.split),
        arguments.out / "evaluation",
    )
    result = {
        "images": len(images),
        "faces": sum(len(image.boxes) for image in images),
        "steps": arguments.steps,
        "seconds": round(seconds, 1),
        "ap": curves["all"].ap,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
