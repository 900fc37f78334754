"""Tests of `--ray`: what it refuses, what it brings, and that nothing else brings Ray."""

import ast
import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ssh_tf import cli
from ssh_tf.cli import ray as module
from tests.support.gray import Here
from tests.support.small import encode, picture, write_wider

SOURCES = Path(cli.__file__).parents[1]


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`photos/` with two photos, in the working folder; one process stands for a cluster."""
    pytest.importorskip("ray", reason='needs Ray: pip install "ssh-tf[ray]"')
    pytest.importorskip("pyarrow", reason='needs pyarrow: pip install "ssh-tf[ray]"')
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / "photos" / name).write_bytes(encode(picture()))

    @contextlib.contextmanager
    def detectors(*_: object, **__: object) -> Iterator[Here]:
        yield Here()

    monkeypatch.setattr(module, "_detectors", detectors)
    return tmp_path / "photos"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("detect photos --parquet rows", "--parquet needs --ray."),
        ("detect photos --cpus 2", "--cpus needs --ray."),
        ("evaluate --model m --data_root d --out o --gpus 1", "--gpus needs --ray."),
        ("detect --camera 0 --ray", "--camera can't be used with --ray."),
        ("detect photos --show --ray", "--show can't be used with --ray."),
        ("detect photos clip.mp4 --ray", "clip.mp4: --ray is for images."),
        ("detect photos --ray 10.0.0.1:6379", "needs --parquet: a folder that all machines reach"),
        ("detect photos s.tar --ray --wider w", "--wider can't be used with archives."),
        ("detect photos photos/a.jpg --ray --out photos", "would overwrite an input."),
        ("records --wider_root w --out o --ray --workers 2", "--workers can't be used with --ray"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    photos: Path, capsys: pytest.CaptureFixture[str], line: str, message: str
):
    (photos.parent / "s.tar").write_bytes(b"")
    (photos.parent / "clip.mp4").write_bytes(b"")
    assert cli.main(line.split()) == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert message in said


def test_both_shares_can_t_be_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("ray", reason='needs Ray: pip install "ssh-tf[ray]"')
    (tmp_path / "a.jpg").write_bytes(encode(picture()))
    assert cli.main(["detect", str(tmp_path), "--ray", "--cpus", "0"]) == 1
    assert "--cpus and --gpus are both 0." in capsys.readouterr().err


def test_a_path_is_no_address(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["detect", "--ray", "photos"])
    message = "expected auto or HOST:PORT, received 'photos'. Put --ray last, or write --ray=auto"
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("command", ["detect photos --ray", "records --wider_root w --out o --ray"])
def test_without_the_extra_the_command_to_install_it_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
):
    write_wider(tmp_path / "w")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "ray", None)
    assert cli.main(command.split()) == 1
    line = f"ssh-tf {command.split()[0]}: Work on many machines needs Ray. Install it: "
    assert capsys.readouterr().err == f'{line}pip install "ssh-tf[ray]".\n'


def test_nothing_imports_ray_before_it_is_asked_for():
    """Imports at the top of a module would reach every command."""
    for path in sorted(SOURCES.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = [
            name
            for node in tree.body
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in [getattr(node, "module", None), *(alias.name for alias in node.names)]
        ]
        found = {str(name).split(".")[0] for name in names} & {"ray", "pyarrow"}
        # `from ssh_tf.cli.ray import ...` and `from ssh_tf.cli import ray` are our own.
        assert not found, path


def test_rows_and_the_usual_files_of_folders_lists_and_archives(
    photos: Path, capsys: pytest.CaptureFixture[str]
):
    Path("list.txt").write_text("photos/a.jpg\nphotos/b.jpg\n")
    words = "detect list.txt --json a.json --wider w --parquet rows --ray"
    assert cli.main(words.split()) == 0
    assert capsys.readouterr().out == "2 faces in 2 images, boxes in rows\n"
    entries = json.loads(Path("a.json").read_text())
    assert [entry["image"] for entry in entries] == ["photos/a.jpg", "photos/b.jpg"]
    assert Path("w/photos/a.txt").is_file()


def test_pictures_alone_are_continued_by_hidden_rows(
    photos: Path, capsys: pytest.CaptureFixture[str]
):
    for _ in range(2):  # The second call must take neither the first one's pictures for photos.
        assert cli.main(["detect", "photos", "--out", "photos/out", "--ray"]) == 0
        assert capsys.readouterr().out == "2 faces in 2 images, pictures in photos/out\n"
    assert len(list(Path("photos/out/.parts").glob("*.parquet"))) == 1


def test_without_an_output_the_terminal_has_the_table(
    photos: Path, capsys: pytest.CaptureFixture[str]
):
    assert cli.main(["detect", "photos", "--ray"]) == 0
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first == "photos/a.jpg: 96 x 64 px, 1 face"
    assert last == "2 faces in 2 images"
    assert [path.name for path in Path().iterdir()] == ["photos"]


def test_evaluate_takes_the_cluster_s_detectors(photos: Path, capsys: pytest.CaptureFixture[str]):
    write_wider(Path("wider"), "val")
    words = ["evaluate", "--model", "light", "--data_root", "wider", "--out", "out", "--ray"]
    assert cli.main(words) == 0
    assert json.loads(Path("out/report.json").read_text())["images"] == 4
    assert Path("out/detections/detector.json").read_text() == "gray\n"
