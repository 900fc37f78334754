"""`ssh-tf benchmark`: how fast detection is on this machine, as in the paper's Table 2."""

import argparse
import dataclasses
import json
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ssh_tf.cli.flags import Command, positive, whole
from ssh_tf.cli.terminal import import_tensorflow, progress, say
from ssh_tf.config import PRECISIONS
from ssh_tf.errors import UserError
from ssh_tf.files import output_folder
from ssh_tf.inference.runtimes import RUNTIMES

if TYPE_CHECKING:
    from ssh_tf.inference.benchmark.cases import Case, Spec
    from ssh_tf.inference.benchmark.timing import Timing

_LOG = logging.getLogger("ssh_tf")
_ALL = "all"
# Columns of names, and the narrowest one of numbers.
_NAMES, _LEAST = 3, 7
# Paper, Table 2.
SIZES = ((400, 800), (600, 1000), (800, 1200), (1200, 1600))


def add_commands(command: Command) -> None:
    """Declares the commands of this file."""
    add = command("benchmark", _benchmark, "time the network, and detection end to end")
    add(
        "--model",
        default="vgg16",
        metavar="NAME,NAME",
        help="names (ssh-tf models), run folders or weights files; vgg16 is the official network "
        "with random weights (default: %(default)s)",
    )
    runtimes = [name for name in RUNTIMES if name != "auto"]
    add("--runtime", choices=(_ALL, *runtimes), default="tensorflow", help="what runs them")
    add("--precision", choices=(_ALL, *PRECISIONS), default="float32", help="their arithmetic")
    add("--batch", type=whole(1, 1024), nargs="+", default=[1], help="images at once")
    add(
        "--sizes",
        type=_size,
        nargs="+",
        default=SIZES,
        metavar="HxW",
        help="network inputs, px (default: those of the paper's Table 2)",
    )
    add("--photos", type=Path, help="folder of the photos (default: a drawn picture)")
    add(
        "--peer",
        nargs="+",
        default=[],
        metavar="FILE.onnx",
        help="public detectors on the same photos: YuNet, RetinaFace-MobileNet, Ultra-Light",
    )
    add("--runs", type=positive, default=5, help="timed runs of each (default: %(default)s)")
    add("--out", type=Path, help="folder for the table as CSV, Markdown and a bar chart")


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"expected a size such as 400x800, received {text!r}")
    return int(match[1]), int(match[2])


def _benchmark(arguments: argparse.Namespace) -> None:
    photos = _photos(arguments)
    out = None if arguments.out is None else output_folder(arguments.out)
    import_tensorflow()
    from ssh_tf.inference.benchmark import report, timing

    cases = _cases(arguments)
    device, rate = _device(), timing.matrix_flops_per_second()
    memory = _memory(cases, arguments.sizes)
    say(f"{device}: {rate / 1e9:,.0f} GFLOP/s in a matrix product of 2048 x 2048, float32", "")
    widths = _widths([case.spec for _, case in cases], report.TITLES)
    say(_line(report.TITLES, widths))
    rows = []
    for size in arguments.sizes:
        measured = timing.time_cases([case for _, case in cases], size, arguments.runs, photos)
        for row, peaks in zip(measured, memory, strict=True):
            rows.append(dataclasses.replace(row, memory_mib=peaks[size]))
            say(_line(report.cells(rows[-1], rate), widths))
    say("", f"Medians of {arguments.runs} runs", "")
    if out is not None:
        report.write_report(out, rows, device=device, matrix_rate=rate)
        say(f"Table and chart in {out}", "")
    say(json.dumps(_report(rows, device, rate)))


def _photos(arguments: argparse.Namespace) -> list[Path]:
    if arguments.photos is None:
        return []
    from ssh_tf.imaging.folders import find_images

    return [path for path, _ in find_images([arguments.photos]).images]


def _cases(arguments: argparse.Namespace) -> "list[tuple[Spec, Case]]":
    """Loads what is timed; of all variants, those that can't be loaded are named and left out."""
    from ssh_tf.inference.benchmark.cases import Spec, load_case, specs
    from ssh_tf.inference.runtimes.choice import installed_variants

    everything = _ALL in (arguments.runtime, arguments.precision)
    chosen = [(arguments.runtime, arguments.precision)]
    variants = [v for v in installed_variants() if _fits(arguments, v)] if everything else chosen
    wanted = specs(arguments.model.split(","), variants, arguments.batch)
    cases = []
    for spec in [*wanted, *(Spec(peer) for peer in arguments.peer)]:
        try:
            cases.append((spec, load_case(spec)))
        except UserError as error:
            if not everything or spec not in wanted:
                raise
            _LOG.warning("Left out: %s, %s: %s", spec.runtime, spec.precision, error)
    if not cases:
        raise UserError("There is nothing to time. Name another --runtime or --precision.")
    return cases


def _fits(arguments: argparse.Namespace, variant: tuple[str, str]) -> bool:
    wanted = (arguments.runtime, arguments.precision)
    return all(one in (_ALL, other) for one, other in zip(wanted, variant, strict=True))


def _memory(
    cases: "Sequence[tuple[Spec, Case]]", sizes: Sequence[tuple[int, int]]
) -> list[dict[tuple[int, int], float]]:
    from ssh_tf.inference.benchmark.memory import peak_memory

    tick, peaks = progress("measure memory", len(cases)), []
    for spec, case in cases:
        peaks.append(peak_memory(case, spec, sizes))
        tick()
    return peaks


def _device() -> str:
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        return str(tf.config.experimental.get_device_details(gpus[0])["device_name"])
    return f"CPU, {os.cpu_count()} cores"


def _widths(specs: "Sequence[Spec]", titles: Sequence[str]) -> list[int]:
    """Returns the columns' widths: those of the names on the left, of the titles beyond."""
    names = [
        max(map(len, column)) for column in zip(*(spec[:_NAMES] for spec in specs), strict=True)
    ]
    return [*names, *(max(_LEAST, len(title)) for title in titles[_NAMES:])]


def _line(texts: Sequence[str], widths: Sequence[int]) -> str:
    cells = zip(texts, widths, strict=True)
    return "  ".join(
        text.ljust(width) if i < _NAMES else text.rjust(width)
        for i, (text, width) in enumerate(cells)
    ).rstrip()


def _report(rows: "Sequence[Timing]", device: str, rate: float) -> dict[str, object]:
    results = [dataclasses.asdict(row) | {"ratio": row.ratio} for row in rows]
    return {"device": device, "matrix_gflops": rate / 1e9, "results": results}
