"""Keeps docs/fidelity.md honest: what it names exists."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TABLE = (ROOT / "docs" / "fidelity.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TABLE.splitlines()
    if line.startswith("| ")
]
RULES = [row for row in ROWS if not row[0].startswith(("**", "Rule"))]
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
CODE = re.compile(r"`(ssh_tf/[\w/]+\.py): ([\w.]+)`")


def definitions(path: str) -> set[str]:
    """Names of a module's functions and classes, methods as `Class.method`."""
    names = set()
    for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            methods = [part for part in node.body if isinstance(part, ast.FunctionDef)]
            names.update(f"{node.name}.{method.name}" for method in methods)
    return names


def test_table_has_its_sections():
    sections = [row[0].strip("*") for row in ROWS if row[0].startswith("**")]
    assert sections == [
        "Network",
        "Anchors",
        "Targets",
        "Losses",
        "Training",
        "Inference",
        "WIDER evaluation",
    ]
    assert len(RULES) > 50


@pytest.mark.parametrize("row", RULES, ids=lambda row: row[0][:60])
def test_rule_has_a_source_a_place_and_a_test_that_exist(row: list[str]):
    assert len(row) == 4
    _, source, code, tests = row
    assert source
    for pattern, cell in [(CODE, code), (TEST, tests)]:
        named = pattern.findall(cell)
        # Every back-quoted word of the cell is a place, and nothing is missing.
        assert len(named) == cell.count("`") // 2 > 0
        for path, name in named:
            assert name in definitions(path), f"{path} has no {name}"
