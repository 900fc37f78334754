"""Tests of the parser and of the flags that commands share."""

import argparse
import shlex
from pathlib import Path
from typing import Any

import pytest

from ssh_tf import cli
from ssh_tf.cli.flags import fraction, port, positive
from ssh_tf.config import PRESETS


@pytest.mark.parametrize(
    ("flags", "settings"),
    [
        ("", {}),
        ("--shorter_px 400 --longer_px 800", {"shorter_px": 400, "longer_px": 800}),
        ("--pyramid", PRESETS["wider_pyramid"]),
        ("--preset fddb", {"shorter_px": 400, "longer_px": 800, "pyramid_px": ()}),
        ("--preset fddb --longer_px 900", {**PRESETS["fddb"], "longer_px": 900}),
        ("--score_threshold 0.2 --top_k 9", {"score_threshold": 0.2, "top_k": 9}),
        ("--precision bfloat16 --runtime auto", {"precision": "bfloat16", "runtime": "auto"}),
    ],
)
def test_model_flags_reach_the_detector(
    flags: str,
    settings: dict[str, Any],
    loads: list[tuple[Any, dict[str, Any]]],
    world: Path,
    tmp_path: Path,
):
    line = f"detect --model m --out {tmp_path} {flags} {world}/images"
    assert cli.main(shlex.split(line)) == 0
    assert loads == [("m", settings)]


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "1e3", "", "٣", "2147483648", "9" * 5000])
def test_what_is_no_number_from_1_is_wrong_usage(text: str):
    with pytest.raises(argparse.ArgumentTypeError, match="a whole number from 1, received"):
        positive(text)


@pytest.mark.parametrize("text", ["-1", "65536", "http"])
def test_a_port_is_one(text: str):
    with pytest.raises(argparse.ArgumentTypeError, match="from 0 to 65535"):
        port(text)
    assert port("8501") == 8501


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "-0.1", "1.1", "high"])
def test_what_is_no_fraction_is_wrong_usage(text: str):
    with pytest.raises(argparse.ArgumentTypeError, match="a number from 0 to 1, received"):
        fraction(text)
    assert fraction("1e-3") == 0.001
