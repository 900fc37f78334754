"""What target assignment and hard mining cost: peak memory and time over the number of faces.

    python benchmarks/targets.py

Assigns the anchors of all three modules of one 1200 x 1600 image (78,800 anchors) to 250 to 2,000
faces, each number in a process of its own. Memory is the peak above what the process held once
TensorFlow was loaded and had run the same function on a 64 x 64 px image. Ends with one JSON line.
"""

import json
import multiprocessing
import resource
import sys
import time

import numpy as np

HEIGHT, WIDTH = 1200, 1600
FACES = (250, 500, 1000, 2000)
REPEATS = 5
LIMIT_MIB = 300


def random_faces(count: int, height: int, width: int) -> np.ndarray:
    """Returns faces of 8 to 400 px, small ones most often: official corners `[1, count, 4]`."""
    rng = np.random.default_rng(0)
    sides = 8 * 50 ** rng.uniform(size=(count, 1)) ** 2 * np.array([1.0, 1.27])
    corners = rng.uniform([0, 0], [width, height], (count, 2))
    return np.concatenate([corners, corners + sides], axis=-1)[np.newaxis].astype(np.float32)


def peak_mib() -> float:
    """Returns the most memory that this process has held so far."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def measure(count: int) -> dict[str, float]:
    """Assigns `count` faces in this process, which must be new: median seconds and peak memory."""
    import tensorflow as tf

    from ssh_tf.config import LossConfig, ModelConfig
    from ssh_tf.geometry.anchors import anchor_grid, grid_size
    from ssh_tf.model.ohem import assign

    loss, modules = LossConfig(), ModelConfig().modules

    @tf.function(
        input_signature=[
            tf.TensorSpec([2], tf.int32),
            tf.TensorSpec([1, None, 4]),
            *(tf.TensorSpec([1, None]) for _ in modules),
        ]
    )
    def labels(size, faces, *probabilities):
        assigned = []
        for module, probability in zip(modules, probabilities, strict=True):
            rows, columns = grid_size(size[0], module.stride), grid_size(size[1], module.stride)
            grid = anchor_grid(rows, columns, stride=module.stride, scales=module.anchor_scales)
            assigned += assign(probability, grid, size[tf.newaxis], faces, module=module, loss=loss)
        return assigned

    def inputs(height: int, width: int, faces: int):
        counts = [2 * grid_size(height, m.stride) * grid_size(width, m.stride) for m in modules]
        probabilities = [tf.random.stateless_uniform([1, n], [0, n]) for n in counts]
        rows = tf.constant(random_faces(faces, height, width))
        return tf.constant([height, width]), rows, *probabilities

    labels(*inputs(64, 64, 1))
    arguments, baseline = inputs(HEIGHT, WIDTH, count), peak_mib()
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        labels(*arguments)[-1].numpy()
        seconds.append(time.perf_counter() - started)
    return {"seconds": float(np.median(seconds)), "mib": peak_mib() - baseline}


def main() -> None:
    """Measures every number of faces and prints the table and the JSON line."""
    results = {}
    for count in FACES:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            results[count] = pool.apply(measure, (count,))
        print(
            f"{count:5} faces {results[count]['seconds']:8.3f} s {results[count]['mib']:8.1f} MiB"
        )
    first, last = results[FACES[0]], results[FACES[-1]]
    print(
        json.dumps(
            {
                "benchmark": "targets",
                "faces": FACES,
                "seconds": [round(result["seconds"], 4) for result in results.values()],
                "mib_above_baseline": [round(result["mib"], 1) for result in results.values()],
                "time_ratio": round(last["seconds"] / first["seconds"], 2),
                "faces_ratio": FACES[-1] / FACES[0],
                "within_memory_limit": last["mib"] < LIMIT_MIB,
            }
        )
    )


if __name__ == "__main__":
    main()
