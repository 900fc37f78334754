"""A whole training step beside the bare network's forward and backward pass.

    python benchmarks/training.py [--size 640x640] [--faces 100] [--runs 7]

One image. `bare` is the network without masks, the mean of its outputs as loss, gradients of the
same weights. `loss` adds masks, anchors, matching, mining and losses; `step` also the update of the
weights by the official optimizer, as `ssh-tf train` does it. All take turns; medians, and medians
of the ratios within a turn. Ends with one JSON line.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from ssh_tf.config import validate
from ssh_tf.training.state import build_state
from ssh_tf.training.steps import make_steps


def random_faces(count: int, height: int, width: int) -> np.ndarray:
    """Returns faces of 8 to 200 px, small ones most often: official corners `[1, count, 4]`."""
    rng = np.random.default_rng(0)
    sides = 8 * 25 ** rng.uniform(size=(count, 1)) ** 2 * np.array([1.0, 1.27])
    corners = rng.uniform([0, 0], [width - 50, height - 50], (count, 2))
    return np.concatenate([corners, corners + sides], axis=-1)[np.newaxis].astype(np.float32)


def rows(height: int, width: int, faces: int, precision: str) -> dict[str, Callable[[], object]]:
    """Returns what is timed."""
    config = validate(
        {
            "model": {"weights": "random"},
            "train": {"images_per_update": 1, "precision": precision, "learning_rate": 1e-6},
        },
        origin="benchmark",
    )
    strategy = tf.distribute.MirroredStrategy(["CPU:0"] if not _gpus() else None)
    state = build_state(config, strategy)
    image = np.random.default_rng(1).uniform(0, 255, (1, height, width, 3)).astype(np.float32)
    batch = {
        "images": tf.constant(image),
        "sizes": tf.constant([[height, width]]),
        "faces": tf.constant(random_faces(faces, height, width)),
        "names": tf.constant(["image"]),
    }
    dataset = tf.data.Dataset.from_tensors(batch)
    _, update = make_steps(state, strategy, config.train, dataset.element_spec)
    exact, variables = state.network.exact(), state.training.trainable_variables
    inputs = {key: batch[key] for key in ("images", "sizes", "faces")}

    @tf.function
    def bare() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = tf.add_n([tf.reduce_mean(x) for x in exact(inputs["images"]).values()])
        return [tf.reduce_sum(g) for g in tape.gradient(loss, variables)]

    @tf.function
    def with_loss() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            state.training(inputs)
            loss = tf.add_n(state.training.losses)
        return [tf.reduce_sum(g) for g in tape.gradient(loss, variables)]

    return {
        "bare": lambda: bare()[0].numpy(),
        "loss": lambda: with_loss()[0].numpy(),
        "step": lambda: update(batch)[1],
    }


def _gpus() -> list[object]:
    return list(tf.config.list_physical_devices("GPU"))


def main() -> None:
    """Measures and prints the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", default="640x640", metavar="HxW")
    parser.add_argument("--faces", type=int, default=100)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--precision", default="float32")
    options = parser.parse_args()
    height, width = map(int, options.size.split("x"))
    timed = rows(height, width, options.faces, options.precision)
    for run in timed.values():
        run()
    turns = []
    for _ in range(options.runs):
        turn = {}
        for name, run in timed.items():
            started = time.perf_counter()
            run()
            turn[name] = time.perf_counter() - started
        turns.append(turn)
    results: dict[str, object] = vars(options) | {"seconds": {}, "ratio": {}}
    for name in timed:
        seconds = statistics.median(turn[name] for turn in turns)
        ratio = statistics.median(turn[name] / turn["bare"] for turn in turns)
        print(f"{name:6}{seconds:8.3f} s{ratio:8.3f} x")
        results["seconds"][name], results["ratio"][name] = round(seconds, 4), round(ratio, 4)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
