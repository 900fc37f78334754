"""The most memory that a detector takes: on CPUs of a process of its own, since none shrinks."""

import multiprocessing
import re
import resource
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import tensorflow as tf

from ssh_tf.environment import silence
from ssh_tf.inference.benchmark.cases import Case, Size, Spec, load_case
from ssh_tf.inference.benchmark.photos import draw_photo

_GPU = "GPU:0"
_STATUS = Path("/proc/self/status")


def peak_memory(case: Case, spec: Spec, sizes: Sequence[Size]) -> dict[Size, float]:
    """Measures the memory of one detector, MiB: of the first GPU, or else of a process.

    Args:
        case: Loaded; used on a GPU, whose memory this process holds.
        spec: What another process loads it from.
        sizes: Height and width of images, px.

    Returns:
        By size. A process has Python and TensorFlow in it, and what smaller sizes took.
    """
    ascending = sorted(sizes, key=lambda size: size[0] * size[1])
    if tf.config.list_physical_devices("GPU"):
        return {size: _on_gpu(case, size) for size in ascending}
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn, initializer=silence) as pool:
        return pool.submit(_in_process, spec, ascending).result()


def _on_gpu(case: Case, size: Size) -> float:
    tf.config.experimental.reset_memory_stats(_GPU)
    _detect(case, size)
    return float(tf.config.experimental.get_memory_info(_GPU)["peak"]) / 2**20


def _in_process(spec: Spec, sizes: Sequence[Size]) -> dict[Size, float]:
    case, peaks = load_case(spec), {}
    for size in sizes:
        _detect(case, size)
        peaks[size] = process_peak()
    return peaks


def process_peak() -> float:
    """Returns the most memory that this process has used so far, MiB."""
    if _STATUS.is_file():  # Linux, where `getrusage` has what the parent used before it.
        return int(re.findall(r"^VmHWM:\s+(\d+) kB", _STATUS.read_text(), re.MULTILINE)[0]) / 2**10
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def _detect(case: Case, size: Size) -> None:
    case.resize_to(size)
    with tempfile.TemporaryDirectory() as folder:
        case.detect(draw_photo(Path(folder), size))
