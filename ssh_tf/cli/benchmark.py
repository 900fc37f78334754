"""`ssh-tf benchmark`: how fast detection is on this machine, as in the paper's Table 2."""

import argparse
import dataclasses
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssh_tf.cli.flags import Command, add_model, load_network_detector, positive
from ssh_tf.cli.terminal import import_tensorflow, say
from ssh_tf.config import DetectConfig, ModelConfig
from ssh_tf.files import output_file, write_text

if TYPE_CHECKING:
    from ssh_tf.inference.timing import Timing

HEADER = (
    "runtime     precision input        network   GFLOP/s  of matrix   end to end   ratio   "
    "decode  resize   boxes"
)
# Paper, Table 2.
SIZES = ((400, 800), (600, 1000), (800, 1200), (1200, 1600))


def add_commands(command: Command) -> None:
    """Declares the commands of this file."""
    add = command("benchmark", _benchmark, "time the network, and detection end to end")
    add_model(add, required=False)
    add(
        "--sizes",
        type=_size,
        nargs="+",
        default=SIZES,
        metavar="HxW",
        help="network inputs, px (default: those of the paper's Table 2)",
    )
    add("--all", action="store_true", help="every installed runtime and precision, in turns")
    add("--csv", type=Path, help="also write the table to this file")
    add("--runs", type=positive, default=5, help="timed runs of each (default: %(default)s)")


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"expected a size such as 400x800, received {text!r}")
    return int(match[1]), int(match[2])


def _benchmark(arguments: argparse.Namespace) -> None:
    if arguments.csv is not None:
        output_file(arguments.csv)
    import_tensorflow()
    import tensorflow as tf

    from ssh_tf.inference import timing
    from ssh_tf.inference.runtimes.choice import installed_variants
    from ssh_tf.model.weights import build_network

    if arguments.model is None:
        network = build_network(ModelConfig(weights="random"), seed=0)
        config = DetectConfig(precision=arguments.precision or "float32")
    else:
        detector = load_network_detector(arguments)
        network, config = detector.network, detector.config
    chosen: tuple[str, str] = (arguments.runtime or "tensorflow", config.precision)
    variants = installed_variants() if arguments.all else [chosen]
    gpus = tf.config.list_physical_devices("GPU")
    device = tf.config.experimental.get_device_details(gpus[0])["device_name"] if gpus else "CPU"
    rate = timing.matrix_flops_per_second()
    say(
        f"{device}: {rate / 1e9:,.0f} GFLOP/s in a matrix product of 2048 x 2048, float32",
        "",
        HEADER,
    )
    results = []
    for size in arguments.sizes:
        for result in timing.time_detection(network, config, size, arguments.runs, variants):
            results.append(dataclasses.asdict(result) | {"ratio": result.ratio})
            say(_row(result, rate))
    if arguments.csv is not None:
        write_text(arguments.csv, _table(results))
    memory = timing.peak_memory_mib()
    say("", f"Peak memory {memory:,.0f} MiB; medians of {arguments.runs} runs, batch 1", "")
    report = {"device": device, "matrix_gflops": rate / 1e9, "peak_memory_mib": memory}
    say(json.dumps(report | {"results": results}))


def _table(results: list[dict[str, Any]]) -> str:
    """Returns the results as CSV, a stage per column."""
    rows = [{**{k: v for k, v in row.items() if k != "stages"}, **row["stages"]} for row in results]
    lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
    return "\n".join(lines) + "\n"


def _row(result: "Timing", rate: float) -> str:
    speed, ms = result.flops / result.network, 1e3
    cells = [
        f"{result.runtime:11}",
        f"{result.precision:9}",
        f"{f'{result.height}x{result.width}':10}",
        f"{ms * result.network:6.0f} ms",
        f"{speed / 1e9:9,.0f}",
        f"{100 * speed / rate:9.0f} %",
        f"{ms * result.end_to_end:9.0f} ms",
        f"{result.ratio:7.3f} ",
        *(f"{ms * seconds:7.1f}" for seconds in result.stages.values()),
    ]
    return " ".join(cells)
