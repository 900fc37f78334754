"""The input pipeline beside a bare loop of the same calls, and the share of padded pixels.

    python benchmarks/pipeline.py [--shorter_px 1200] [--longer_px 1600] [--wider_root DIR]

The bare loop decodes and resizes the same images in parallel by `tf.data` (`from_tensor_slices`,
`map`, nothing else: no records, no order, no faces, no canvas). Both run on all cores, in turns;
medians of images per second. Padding: the share of a canvas that no image covers, for images of
1024 px width with the aspect ratios in `--wider_root`. Ends with one JSON line.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import records as sets
import tensorflow as tf

from ssh_tf.config import DataConfig
from ssh_tf.data.builder import build_records
from ssh_tf.data.pipeline import training_dataset
from ssh_tf.data.readers.wider import find_split, read_annotations, split_layout
from ssh_tf.data.sources import open_wider
from ssh_tf.imaging.decoder import decode
from ssh_tf.imaging.scale import canvas_size, resize, scaled_size, single_scale

PHOTOS, IMAGES, ROUNDS = 24, 96, 5
AUGMENTATIONS = {
    "as officially": {},
    "colors": {"distort_colors": True},
    "crops of 640 px, colors": {"crop_px": 640, "distort_colors": True},
}


def bare_loop(root: Path, config: DataConfig) -> tf.data.Dataset:
    """Decodes and resizes the images, in parallel."""
    files = sorted((split_layout(root, "train").images_dir / "0--Parade").iterdir())
    encoded = tf.data.Dataset.from_tensor_slices([file.read_bytes() for file in files]).repeat()

    def load(data: tf.Tensor) -> tf.Tensor:
        image = decode(data)
        size = tf.shape(image)[:2]
        limits = {"shorter_px": config.shorter_px, "longer_px": config.longer_px}
        return resize(image, single_scale(size, **limits))

    return encoded.map(load, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def images_per_second(dataset: tf.data.Dataset) -> float:
    """Draws images; the first ones only start the pipeline."""
    elements = iter(dataset)
    for _ in range(16):
        next(elements)
    started = time.perf_counter()
    for _ in range(IMAGES):
        next(elements)
    return IMAGES / (time.perf_counter() - started)


def padding(roots: list[tuple[Path, str]], config: DataConfig) -> tuple[float, int, int]:
    """Returns the share of padded pixels, the number of images and of sizes of canvas."""
    used = total = 0
    canvases, count = set(), 0
    for root, split in roots:
        source = find_split(root, split)
        for entry in read_annotations(source.annotations):
            height, width = decode((source.images_dir / entry.name).read_bytes()).shape[:2]
            size = tf.constant([round(height * 1024 / width), 1024])
            limits = {"shorter_px": config.shorter_px, "longer_px": config.longer_px}
            scaled = scaled_size(size, single_scale(size, **limits))
            canvas = canvas_size(scaled, **limits, steps=config.canvas_steps).numpy()
            used += int(np.prod(scaled.numpy().astype(np.int64)))
            total += int(np.prod(canvas.astype(np.int64)))
            canvases.add(tuple(canvas.tolist()))
            count += 1
    return 1 - used / total, count, len(canvases)


def main() -> None:
    """Measures and prints the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shorter_px", type=int, default=1200)
    parser.add_argument("--longer_px", type=int, default=1600)
    parser.add_argument("--wider_root", type=Path)
    options = parser.parse_args()
    scale = {"shorter_px": options.shorter_px, "longer_px": options.longer_px}
    results: dict[str, object] = dict(scale)
    with tempfile.TemporaryDirectory() as temporary:
        root, out = Path(temporary) / "wider", Path(temporary) / "records"
        sets.write_set(root, PHOTOS, (768, 1024))
        build_records(open_wider(root, "train"), out, shards=4)
        bare = bare_loop(root, DataConfig(**scale))
        rows = {
            name: training_dataset(
                DataConfig(records=str(out), **scale, **settings), batch=1, seed=0
            )
            for name, settings in AUGMENTATIONS.items()
        }
        turns = [
            {name: images_per_second(dataset) for name, dataset in {"bare": bare, **rows}.items()}
            for _ in range(ROUNDS)
        ]
    speeds = {name: statistics.median(turn[name] for turn in turns) for name in turns[0]}
    for name, speed in speeds.items():
        print(f"{name:26}{speed:8.1f} images/s{speed / speeds['bare']:8.2f} x")
    results["images_per_s"] = {name: round(speed, 1) for name, speed in speeds.items()}
    results["ratio"] = round(speeds["as officially"] / speeds["bare"], 3)
    if options.wider_root:
        roots = [(options.wider_root, "train"), (options.wider_root, "val")]
        share, count, sizes = padding(roots, DataConfig(**scale))
        print(f"{100 * share:.1f} % of the pixels are padding: {count} images, {sizes} canvases")
        results["padding"] = {"share": round(share, 4), "images": count, "canvases": sizes}
    print(json.dumps(results))


if __name__ == "__main__":
    main()
