"""Keeps docs/fidelity.md and the decisions honest: what they name exists."""

import ast
import functools
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


DECISIONS = [*sorted((ROOT / "docs" / "decisions").glob("*.md")), ROOT / "docs" / "rules.md"]
ROOMS = "|".join(path.name for path in (ROOT / "ssh_tf").iterdir() if path.is_dir())
PLACE = re.compile(rf"`((?:tests|ssh_tf|benchmarks|{ROOMS})/[\w/]+\.\w+)(?:::(\w+))?")
MEMBER = re.compile(rf"`(\w+)` in `((?:{ROOMS})/[\w/]+\.py)`")
NAMED_TEST = re.compile(r"`(?:\S+::)?(test_\w+)(\.py)?`")


def place(name: str) -> Path:
    """A path as documents write it: from the top, or from `ssh_tf/`."""
    return ROOT / name if (ROOT / name).exists() else ROOT / "ssh_tf" / name


@functools.cache
def named_in_tests() -> set[str]:
    files = list((ROOT / "tests").rglob("test_*.py"))
    names = {name for path in files for name in definitions(str(path.relative_to(ROOT)))}
    return names | {path.name for path in files}


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_names_places_and_tests_that_exist(path: Path):
    text = path.read_text(encoding="utf-8")
    for name, member in PLACE.findall(text):
        assert place(name).exists(), f"{name} is not there"
        assert not member or member in definitions(name), f"{name} has no {member}"
    for member, name in MEMBER.findall(text):
        assert member in definitions(f"ssh_tf/{name}"), f"{name} has no {member}"
    for name, suffix in NAMED_TEST.findall(text):
        assert name + suffix in named_in_tests(), f"{name}{suffix} is not there"


def test_every_link_of_the_documents_leads_somewhere():
    folders = ("", "docs", "docs/decisions", "export", "tfrecords")
    for path in (path for folder in folders for path in (ROOT / folder).glob("*.md")):
        text = path.read_text(encoding="utf-8")
        text = re.sub(r"^```.*?^```|`[^`\n]*`", "", text, flags=re.M | re.S)
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
            assert (path.parent / link).exists(), f"{path.relative_to(ROOT)}: {link}"
