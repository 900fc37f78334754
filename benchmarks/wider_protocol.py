"""Scores result files by the official WIDER FACE protocol: seconds, and peak memory.

    python benchmarks/wider_protocol.py --detections DETECTIONS --ground_truth MATS

All three settings. The official MATLAB code takes minutes for the same files. Ends with one JSON
line.
"""

import argparse
import json
import resource
import sys
import time
from pathlib import Path

from ssh_tf.evaluation.detections import read_wider
from ssh_tf.evaluation.truth import read_truth
from ssh_tf.evaluation.wider import evaluate


def main() -> None:
    """Reads, scores and prints."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--detections", type=Path, required=True, help="folder of result files")
    parser.add_argument("--ground_truth", type=Path, required=True, help="folder of .mat files")
    arguments = parser.parse_args()
    started = time.perf_counter()
    truth, found = read_truth(arguments.ground_truth), read_wider(arguments.detections)
    read = time.perf_counter()
    curves = evaluate(found, truth)
    scored = time.perf_counter()
    unit = 2**20 if sys.platform == "darwin" else 2**10
    report = {
        "boxes": sum(map(len, found.values())),
        "read_seconds": read - started,
        "score_seconds": scored - read,
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit,
        "ap": {setting: curve.ap for setting, curve in curves.items()},
    }
    print(
        "{boxes:,} boxes: {read_seconds:.2f} s to read, {score_seconds:.2f} s to score three "
        "settings, {peak_memory_mib:,.0f} MiB".format(**report)
    )
    print(json.dumps(report))


if __name__ == "__main__":
    main()
