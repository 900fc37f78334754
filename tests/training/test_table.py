"""Tables of numbers: continued, cut, and saved by a spreadsheet."""

from pathlib import Path

import numpy as np
import pytest

from ssh_tf.errors import UserError
from ssh_tf.training.table import Table, read_table


def test_a_table_goes_on_where_it_begins_again(tmp_path: Path):
    path = tmp_path / "t.csv"
    table = Table(path, after=0)
    for step in (1, 2, 3):
        table.add({"step": step, "loss": step / 2})
    again = Table(path, after=2)
    again.add({"step": 3, "loss": 9.0})
    assert path.read_text() == "step,loss\n1,0.5\n2,1.0\n3,9.0\n"
    assert read_table(path)[1] == {"step": 2, "loss": 1.0}


def test_a_row_that_was_not_finished_is_left_out(tmp_path: Path):
    path = tmp_path / "t.csv"
    path.write_text("step,loss\n1,0.5\n2,1.")
    assert read_table(path) == [{"step": 1, "loss": 0.5}]


def test_another_column_is_added_to_the_rows_before(tmp_path: Path):
    table = Table(tmp_path / "t.csv", after=0)
    table.add({"step": 1, "easy": 0.5})
    table.add({"step": 2, "easy": 0.5, "hard": 0.25})
    assert (tmp_path / "t.csv").read_text() == "step,easy,hard\n1,0.5,\n2,0.5,0.25\n"
    assert np.isnan(read_table(tmp_path / "t.csv")[0]["hard"])


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("step,loss\r\n1,0.5\r\n2,0.25\r\n", id="Windows"),
        pytest.param("\ufeffstep,loss\n1,0.5\n2,0.25\n", id="byte order mark"),
        pytest.param("step;loss\n1;0,5\n2;0,25\n", id="decimal commas"),
        pytest.param("step\tloss\n1,0\t0,5\n2,0\t0,25\n", id="tabs"),
        pytest.param('"step","loss",""\n"1","0.5",""\n"2","0.25",""\n', id="quotes"),
    ],
)
def test_a_table_that_a_spreadsheet_saved_goes_on(tmp_path: Path, content: str):
    path = tmp_path / "t.csv"
    path.write_bytes(content.encode())
    assert read_table(path) == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25}]
    Table(path, after=2).add({"step": 3, "loss": 0.125})
    assert path.read_text() == "step,loss\n1,0.5\n2,0.25\n3,0.125\n"


@pytest.mark.parametrize(
    "content",
    [b"\x00\xff\n", b"step,loss\nno,numbers\n", b"loss\n1\n", b"step,loss\n,1\n"],
)
def test_a_table_that_is_none_is_set_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match="is not a table of numbers with a column `step`"):
        read_table(path)
    Table(path, after=5).add({"step": 6, "loss": 1.0})
    assert read_table(path) == [{"step": 6, "loss": 1.0}]
    assert (tmp_path / "t.csv.unreadable").read_bytes() == content
    assert "t.csv.unreadable" in caplog.text
