"""Trainings that SIGKILL stops at random steps end with the weights of an undisturbed one.

    python benchmarks/resume.py --wider_root DIR [--kills 5] [--steps 40]

Trains on a split in WIDER's layout, at 128 px, with all that a run remembers: momentum, moving
averages, micro-batches, random crops and colors. The killed run is begun again by the same command
each time.
Compares every variable of the last checkpoints bit by bit. Ends with one JSON line.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

from ssh_tf.config import to_yaml, validate
from ssh_tf.data.builder import build_records
from ssh_tf.data.sources import open_wider
from ssh_tf.training.checkpoints import Checkpoints
from ssh_tf.training.table import read_table

SIDE = 128


def write_config(folder: Path, steps: int) -> Path:
    """Writes the recipe and returns its path."""
    config = validate(
        {
            "model": {"weights": "random"},
            "data": {
                "records": str(folder / "records"),
                "crop_px": SIDE,
                "distort_colors": True,
            },
            "train": {
                "steps": steps,
                "images_per_update": 2,
                "images_per_replica": 1,
                "learning_rate": 0.0005,
                "ema_decay": 0.9,
                "clip_norm": 10.0,
                "checkpoint_every": 5,
                "log_every": 1,
            },
        },
        origin="benchmark",
    )
    path = folder / "config.yaml"
    path.write_text(to_yaml(config))
    return path


def variables(workdir: Path) -> dict[str, np.ndarray]:
    """Returns all that the last checkpoint holds."""
    folder = workdir / "checkpoints"
    reader = tf.train.load_checkpoint(str(folder / f"ckpt-{Checkpoints(folder).steps()[-1]}"))
    names = (name for name in reader.get_variable_to_shape_map() if "VARIABLE_VALUE" in name)
    return {name: reader.get_tensor(name) for name in names}


def kill_at(command: list[str], workdir: Path, step: int) -> int:
    """Starts a training, kills it once it has logged `step`; returns the last step logged."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    last = 0
    while last < step and process.poll() is None:
        time.sleep(0.02)
        last = int(max((row["step"] for row in read_table(workdir / "logs.csv")), default=0))
    process.send_signal(signal.SIGKILL)
    process.wait()
    return last


def main() -> None:
    """Trains twice and compares."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--wider_root", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        build_records(open_wider(options.wider_root, "train"), folder / "records", shards=4)
        command = [sys.executable, "-m", "ssh_tf.cli", "train"]
        command += ["--config", str(write_config(folder, options.steps)), "--workdir"]
        subprocess.run([*command, str(folder / "straight")], check=True, capture_output=True)
        steps = sorted(random.Random(0).sample(range(2, options.steps), options.kills))
        killed = [
            kill_at([*command, str(folder / "killed")], folder / "killed", step) for step in steps
        ]
        print(f"killed at steps {killed}", flush=True)
        subprocess.run([*command, str(folder / "killed")], check=True, capture_output=True)
        ours, theirs = variables(folder / "killed"), variables(folder / "straight")
        different = [name for name in theirs if not np.array_equal(ours[name], theirs[name])]
        rows = [len(read_table(folder / name / "logs.csv")) for name in ("killed", "straight")]
    print(f"{len(theirs)} variables, {len(different)} differ; {rows} rows of logs")
    result = {"killed_at": killed, "variables": len(theirs), "different": different, "rows": rows}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
