"""Tests of the demo: one process at a time, and seconds that an interrupted call does not lose."""

from pathlib import Path
from typing import Any

import pytest

from ssh_tf import demo
from ssh_tf.config import Config
from ssh_tf.errors import UserError
from ssh_tf.files import folder_lock
from ssh_tf.progress import silent


def run(out: Path) -> demo.DemoResult:
    return demo.run_demo(Config(), out, images=3, progress=silent, on_step=lambda step, logs: None)


def test_two_demos_do_not_share_a_folder(tmp_path: Path):
    with folder_lock(tmp_path, "demo"), pytest.raises(UserError, match="works on this demo"):
        run(tmp_path)


def test_a_second_call_goes_on_and_keeps_the_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "stages.json").write_text('{"draw": 30.0}')

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    drawn = []
    monkeypatch.setattr(demo, "_draw", lambda wider, images, progress: drawn.append(wider))
    monkeypatch.setattr(demo, "open_wider", stop)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    assert drawn == [tmp_path / "wider"]
    assert (tmp_path / "stages.json").read_text() == '{"draw": 30.0}\n'


@pytest.mark.parametrize("text", ["", "[1]", '{"draw": "long"}', "null"])
def test_damaged_seconds_begin_anew(tmp_path: Path, text: str):
    (tmp_path / "stages.json").write_text(text)
    stages = demo._Stages(tmp_path / "stages.json")
    with stages.timed("draw"):
        pass
    assert stages.seconds == {"draw": 0.0}
