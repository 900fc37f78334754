"""Tests of a benchmark's files: the numbers and their units, and that nothing unknown is shown."""

import csv
from pathlib import Path

from PIL import Image

from ssh_tf.inference.benchmark.report import FILES, TITLES, cells, write_report
from ssh_tf.inference.benchmark.timing import Timing

OURS = Timing(
    *("vgg16", "tensorflow", "float32", 1, 400, 800, 0.625, 3),
    *(0.5, 0.0051, 0.001, 0.002),  # network, decode, resize, boxes
    flops=200e9,
    memory_mib=1234.5,
)
PEER = Timing("a,b", "opencv", "float32", 1, 400, 800, 0.02, 2)


def test_a_row_has_milliseconds_and_shares():
    row = dict(zip(TITLES, cells(OURS, 500e9), strict=True))
    assert row == {
        "model": "vgg16",
        "runtime": "tensorflow",
        "precision": "float32",
        "input": "400x800",
        "batch": "1",
        "network ms": "500.0",
        "GFLOP/s": "400",  # 200 in half a second
        "of matrix %": "80",
        "file to boxes ms": "625.0",
        "ratio": "1.250",
        "images/s": "1.6",
        "decode ms": "5.1",
        "resize ms": "1.0",
        "boxes ms": "2.0",
        "faces": "3",
        "peak MiB": "1,234",
    }


def test_what_is_not_known_is_empty():
    row = dict(zip(TITLES, cells(PEER, 500e9), strict=True))
    empty = {title for title, text in row.items() if not text}
    assert empty == {
        *("network ms", "GFLOP/s", "of matrix %", "ratio"),
        *("decode ms", "resize ms", "boxes ms", "peak MiB"),
    }


def test_the_files_hold_every_row(tmp_path: Path):
    write_report(tmp_path, [OURS, PEER], device="CPU, 2 cores", matrix_rate=500e9)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)
    with (tmp_path / FILES[0]).open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["model"], row["network"], row["ratio"]) for row in rows] == [
        ("vgg16", "0.5", "1.25"),
        ("a,b", "", ""),
    ]
    text = (tmp_path / FILES[1]).read_text().splitlines()
    assert text[0] == "CPU, 2 cores; 500 GFLOP/s in a float32 matrix product. Medians."
    assert [line.split(" | ")[0] for line in text[2:]] == ["| model", "| ---", "| vgg16", "| a,b"]
    with Image.open(tmp_path / FILES[2]) as image:
        assert min(image.size) > 300
