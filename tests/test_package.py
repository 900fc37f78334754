"""Tests of what a user gets: the public face, and the package outside a checkout."""

import itertools
import re
import runpy
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import ssh_tf
from ssh_tf.config import load

ROOT = Path(__file__).parents[1]


PLAIN = "import sys; print(*sys.modules)"


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def test_no_pin_shuts_out_a_python_that_is_promised():
    """`pip -c` fails for a pinned release that needs a later Python than 3.10."""
    requirements = pytest.importorskip("packaging.requirements")
    specifiers = pytest.importorskip("packaging.specifiers")
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line.startswith("#"):
            continue
        pin = requirements.Requirement(line)
        try:
            needed = metadata.metadata(pin.name).get("Requires-Python")
        except metadata.PackageNotFoundError:
            continue
        if needed and str(pin.specifier) == f"=={metadata.version(pin.name)}":
            for python in ("3.10", "3.12", "3.13"):
                used = pin.marker is None or pin.marker.evaluate({"python_version": python})
                assert not used or f"{python}.99" in specifiers.SpecifierSet(needed), line


def test_the_import_brings_no_library():
    new = set(run("import sys, ssh_tf; print(*sys.modules)").split()) - set(run(PLAIN).split())
    assert {name for name in new if name.split(".")[0] not in sys.stdlib_module_names} == {
        "ssh_tf",
        "ssh_tf.version",
    }


def test_the_public_names_are_listed_and_lazy():
    from ssh_tf.config import Config
    from ssh_tf.inference.detector import Detector

    assert dir(ssh_tf) == ["Config", "Detector", "__version__", "load"]
    assert (ssh_tf.Config, ssh_tf.Detector) == (Config, Detector)
    with pytest.raises(AttributeError, match="'ssh_tf' has no attribute 'Dectector'"):
        _ = ssh_tf.Dectector  # type: ignore[attr-defined]


def test_load_is_the_detector_s(monkeypatch: pytest.MonkeyPatch):
    given = []
    monkeypatch.setattr(ssh_tf.Detector, "load", lambda *a, **k: given.append((a, k)))
    ssh_tf.load("run", shorter_px=9)
    assert given == [(("run",), {"shorter_px": 9})]


def test_the_module_runs_as_the_program():
    for name in ("ssh_tf", "ssh_tf.cli"):
        done = subprocess.run(
            [sys.executable, "-m", name, "--version"], capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == ssh_tf.__version__


def test_configs_are_found_outside_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert load("configs/demo.yaml") == load(ROOT / "configs" / "demo.yaml")
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "demo.yaml").write_text("train: {steps: 7}")
    assert load("configs/demo.yaml").train.steps == 7  # one's own comes first


def test_the_package_holds_every_file_that_is_no_python(monkeypatch: pytest.MonkeyPatch):
    setuptools, tomllib = pytest.importorskip("setuptools"), pytest.importorskip("tomllib")
    given: dict[str, Any] = {}
    monkeypatch.setattr(setuptools, "setup", given.update)
    monkeypatch.chdir(ROOT)
    runpy.run_path("setup.py")
    patterns = tomllib.loads(Path("pyproject.toml").read_text())["tool"]["setuptools"]
    held: set[Path] = set()
    for name in given["packages"]:
        folder = Path(given["package_dir"].get(name, name.replace(".", "/")))
        for pattern in patterns["package-data"].get(name, []):
            held.update(folder.glob(pattern))
    files = {path for root in ("ssh_tf", "configs") for path in Path(root).rglob("*.*")}
    assert {path for path in files if path.suffix not in {".py", ".pyc"}} - held == set()


def test_every_dependency_has_its_reason():
    project = pytest.importorskip("tomllib").loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    lines = [*project["dependencies"], *itertools.chain.from_iterable(extras)]
    names = {re.match(r"[\w-]+", line)[0].lower() for line in lines} - {"ssh-tf"}
    page = (ROOT / "docs/dependencies.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    table = set(re.findall(r"[\w-]+", " ".join(row.split("|")[1] for row in rows).lower()))
    assert names - table == set()
