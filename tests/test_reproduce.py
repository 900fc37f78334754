"""Every command in the documents parses: known flags, right values, configs that exist."""

import re
import shlex
from pathlib import Path

import pytest

from ssh_tf.cli import parser
from ssh_tf.config import load

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("README.md", "docs/reproduce.md")


def commands(name: str) -> list[str]:
    """Returns the `ssh-tf` lines of a document's code blocks, continued lines joined."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", (ROOT / name).read_text(), re.M | re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.startswith("ssh-tf ")]


CASES = [(name, line) for name in DOCUMENTS for line in commands(name)]


@pytest.mark.parametrize(("name", "line"), CASES)
def test_a_documented_command_parses(name: str, line: str):
    arguments = parser().parse_args(shlex.split(line, comments=True)[1:])
    if getattr(arguments, "config", None):
        load(ROOT / arguments.config, arguments.set)


def test_the_way_to_every_figure_is_there():
    lines = commands("docs/reproduce.md")
    assert len(lines) > 15
    named = {Path(line.split("--config ")[1].split()[0]) for line in lines if "--config" in line}
    assert {path.relative_to(ROOT) for path in (ROOT / "configs/ablations").glob("*")} <= named
    text = (ROOT / "docs/reproduce.md").read_text()
    for figure in ("Table 1", "Table 2", "Table 3", "Figure 5", "Figure 6", "Figure 7", "Figure 8"):
        assert figure in text
