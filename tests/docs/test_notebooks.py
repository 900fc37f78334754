"""The notebooks of examples/ run, with small settings, and are kept without outputs."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.documents import ROOT

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


def cells(path: Path) -> list[dict[str, Any]]:
    """The cells of code; an error's traceback names the notebook and the cell."""
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in found if cell["cell_type"] == "code"]


def run(code: str, origin: str, names: dict[str, Any]) -> Any:
    """Runs a cell and returns the value of its last expression, which a notebook shows."""
    tree = ast.parse(code)
    shown = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, origin, "exec"), names)
    return shown and eval(compile(ast.Expression(shown.value), origin, "eval"), names)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(path: Path):
    assert [cell["outputs"] for cell in cells(path)] == [[] for _ in cells(path)]
    assert {cell["execution_count"] for cell in cells(path)} == {None}
    assert path.stat().st_size < 20_000
    page = (ROOT / "docs" / "notebooks.md").read_text(encoding="utf-8")
    assert f"../examples/{path.name}" in page


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(
    path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SSH_TF_EXAMPLES", "small")
    monkeypatch.setattr("ssh_tf.evaluation.report.save_figure", lambda *_: None)
    names: dict[str, Any] = {"__name__": "__main__"}
    shown = []
    for i, cell in enumerate(cells(path)):
        value = run("".join(cell["source"]), f"{path.name}, cell {i + 1}", names)
        shown += [value] if hasattr(value, "_repr_png_") else []
    assert shown
    printed = capsys.readouterr().out
    if path.stem == "detect_and_redact":
        assert "0 faces are found in the redacted picture" in printed
    elif path.stem == "export_and_serve":
        assert len(names["served"].boxes) > 3
    else:
        assert "run: AP 0." in printed
