"""The README's badges say what the package's own files say, and its files are there."""

import re
from importlib.metadata import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def badge(name: str) -> str:
    """Returns the right-hand text of a badge."""
    title = re.search(r"<title>(.*?)</title>", (ROOT / f"docs/badges/{name}.svg").read_text())
    assert title is not None
    return title[1].partition(": ")[2]


def test_badges_say_what_the_package_needs():
    package = metadata("ssh-tf")
    lowest, above = re.findall(
        r"3\.\d+", ",".join(sorted(package["Requires-Python"].split(","), reverse=True))
    )
    assert badge("python") == f"{lowest} to 3.{int(above[2:]) - 1}"
    assert f"tensorflow>={badge('tensorflow').split()[0]}" in package.get_all("Requires-Dist")
    assert badge("license") == package["License-Expression"]


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\((?!http)([^)#]+)\)", README))))
def test_a_link_leads_to_a_file(path: str):
    assert (ROOT / path).exists()


def test_pictures_are_small():
    files = [*ROOT.glob("docs/gallery/*"), *ROOT.glob("docs/badges/*")]
    assert files
    assert [path.name for path in files if path.stat().st_size > 300_000] == []
