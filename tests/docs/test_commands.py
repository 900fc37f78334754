"""Every command in the documents parses and runs, on tiny data."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from ssh_tf import cli
from ssh_tf.config import PRESETS, Config, DetectConfig, load
from ssh_tf.evaluation.curves import RocCurve
from ssh_tf.inference.detector import Detector
from tests.support.commands import Stub
from tests.support.documents import ROOT, Block, blocks, write_world

BLOCKS = blocks("")
# Commands of ours that last, or need what a test machine has not; their own tests run them.
NOT_RUN = {
    "demo": "takes two minutes",
    "benchmark": "measures for minutes",
    "serve": "runs until it is stopped",
    "--camera": "needs a camera",
    "--server": "needs a server",
    "http": "needs a network",
    "--ray": "starts processes: tests/distributed/test_ray.py",
    "official": "needs a network",
}
# Programs that are not ours, and why they are not run here.
OTHERS = {
    "pip": "installs packages",
    "make": "is what runs the tests",
    "git": "needs a network",
    "python": "measures for minutes, or draws what tests/docs/test_pictures.py draws",
    "jupyter": "opens a browser",
    "tensorboard": "runs until it is stopped",
}


def ours(block: Block) -> list[str]:
    """The `ssh-tf` commands of a block, without what only a reader sees: `[--optional]` flags."""
    lines = block.text.replace("\\\n", " ").splitlines()
    return [line.partition(" [--")[0] for line in lines if line.startswith("ssh-tf ")]


LINES = [pytest.param(block, line, id=line) for block in BLOCKS for line in ours(block)]


# Flags that make a command small.
FEWER = {"synth": ["--images", "2"]}


def words(line: str) -> list[str]:
    given = shlex.split(line, comments=True)[1:]
    return given + FEWER.get(given[0], [])


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.reason is None], ids=str)
def test_what_is_not_run_says_why(block: Block):
    lines = block.text.replace("\\\n", " ").splitlines()
    first = {line.split()[0] for line in lines if line.strip() and not line.startswith("#")}
    assert first <= {"ssh-tf", *OTHERS}, "mark the block: <!-- not run: needs docker -->"


@pytest.mark.parametrize(("block", "line"), LINES)
def test_a_documented_command_parses(block: Block, line: str):
    arguments = cli.parser().parse_args(words(line))
    if getattr(arguments, "config", None):
        load(ROOT / arguments.config, arguments.set)


def test_the_way_to_every_figure_is_there():
    lines = [
        line for block in BLOCKS if block.document == "docs/reproduce.md" for line in ours(block)
    ]
    assert len(lines) > 15
    named = {Path(line.split("--config ")[1].split()[0]) for line in lines if "--config" in line}
    assert {path.relative_to(ROOT) for path in (ROOT / "configs/ablations").glob("*")} <= named
    text = (ROOT / "docs/reproduce.md").read_text()
    for figure in ("Table 1", "Table 2", "Table 3", "Figure 5", "Figure 6", "Figure 7", "Figure 8"):
        assert figure in text


def train(config: Config, workdir: str, **_: Any) -> Path:
    """Stands for the training: what it begins with must be there."""
    for folder in config.data.records:
        assert (Path(folder) / "manifest.json").exists(), folder
    Path(workdir).mkdir(parents=True, exist_ok=True)
    return Path(workdir) / "model.keras"


def given(path: Any) -> Path:
    """Stands for what reads a file or folder: it must be there."""
    assert Path(path).exists(), path
    return Path(path)


def loaded(path: Any, **settings: Any) -> Stub:
    """Stands for a model: its run must have been trained by an earlier command."""
    assert path == "light" or Path(path).exists(), path
    fields = {key: value for key, value in settings.items() if key in DetectConfig.model_fields}
    DetectConfig(**fields)
    return Stub()


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with what the documents name; networks, training and figures are stand-ins."""
    folder = tmp_path_factory.mktemp("named")
    write_world(folder)
    for name in ("RUN", "runs/wider_vgg16", "FDDB-folds", "FDDB_CURVES", "FACE_EVAL"):
        (folder / name).mkdir(parents=True)
    nothing = {"discrete": RocCurve(*np.zeros((3, 1)))}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(Detector, "load", loaded)
        patch.setattr("ssh_tf.training.trainer.train", train)
        patch.setattr("ssh_tf.training.plot.plot_run", lambda run, _: given(run) / "curves.png")
        patch.setattr(Figure, "savefig", lambda _, path, **__: Path(path).touch())
        patch.setattr("ssh_tf.evaluation.run.evaluate_fddb", lambda *_, **__: nothing)
        patch.setattr("ssh_tf.evaluation.run.evaluate_pascal", lambda *_, **__: {})
        patch.setattr("ssh_tf.model.weights.load_network", lambda _: None)
        patch.setattr("ssh_tf.model.weights.save_network", lambda _, path: path)
        for name in ("savedmodel", "onnx", "openvino", "litert"):
            patch.setattr(f"ssh_tf.export.{name}.export_{name}", lambda *given: given[2])
        # What guides begin with, in whatever order they are read.
        line = "records --wider_root WIDER --split train --out tfrecords/wider_train"
        assert cli.main(line.split()) == 0
        yield folder


def shape(line: str) -> tuple[str, ...]:
    """What decides which code of `evaluate` runs: its flags, and no file's name."""
    given = words(line)
    kept = [word for word in given if word.startswith("--")]
    return (*kept, *(word for word in given if word in ("fddb", "pascal", "afw", *PRESETS)))


@pytest.mark.usefixtures("named")
@pytest.mark.parametrize("document", sorted({block.document for block in BLOCKS}))
def test_a_document_s_commands_run_one_after_the_other(document: str):
    evaluated = set()
    for block in (block for block in BLOCKS if block.document == document and not block.reason):
        for line in ours(block):
            again = "evaluate" in line and shape(line) in evaluated
            if not again and not any(word.startswith(tuple(NOT_RUN)) for word in words(line)):
                assert cli.main(words(line)) == 0, line
                evaluated.add(shape(line))
