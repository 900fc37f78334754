"""Result files: the writer's exact bytes, and what the reader takes and refuses."""

from pathlib import Path

import numpy as np
import pytest

from ssh_tf.errors import UserError
from ssh_tf.evaluation.detections import image_key, read_wider, read_wider_file, write_wider

ROWS = "10 20 30 40 0.9 \n1 2 3 4 0.25 \n"


def _file(folder: Path, text: str) -> Path:
    path = folder / "a.txt"
    path.write_bytes(text.encode())
    return path


def test_writer_truncates_corners_before_it_takes_the_size(tmp_path: Path) -> None:
    boxes = np.array([[10.9, 20.2, 40.1, 60.99], [-0.9, -1.5, 3.0, 3.0]], np.float32)
    write_wider(tmp_path, "0--Parade/0_a", boxes, np.array([0.123456789, 1.0]))
    written = (tmp_path / "0--Parade" / "0_a.txt").read_bytes()
    assert written == b"0--Parade/0_a.jpg\n2\n10 20 30 40 0.123457 \n0 -1 3 4 1 \n"


def test_writer_writes_an_image_without_detections(tmp_path: Path) -> None:
    write_wider(tmp_path, "e/a.jpg", np.zeros((0, 4)), np.zeros(0))
    assert (tmp_path / "e" / "a.txt").read_text() == "e/a.jpg\n0\n"


def test_writer_leaves_nothing_behind_on_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shorter"):
        write_wider(tmp_path, "e/a", np.zeros((2, 4)), np.zeros(1))
    assert list(tmp_path.rglob("*.txt")) == []


@pytest.mark.parametrize("name", ["../a", "/e/a", ""])
def test_writer_stays_in_its_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="relative"):
        write_wider(tmp_path, name, np.zeros((0, 4)), np.zeros(0))


@pytest.mark.parametrize(
    ("name", "key"), [("e/a.jpg", "e/a"), ("e/a.JPG", "e/a"), ("e/a.b", "e/a.b"), ("a", "a")]
)
def test_image_key_drops_only_image_suffixes(name: str, key: str) -> None:
    assert image_key(name) == key


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"e/a.jpg\n2\n{ROWS}", id="official"),
        pytest.param(f"a\n2\n{ROWS}", id="stem-only-header"),
        pytest.param(f"data/WIDER val/e/a.jpg\n2\n{ROWS}", id="path-with-blank-header"),
        pytest.param(f"2\n{ROWS}", id="no-header"),
        pytest.param(f"\n2\n{ROWS}", id="blank-header"),
        pytest.param(f"e/a.jpg\n\n2\n\n{ROWS}\n\n", id="blank-lines"),
        pytest.param(f"e/a.jpg\n2\n{ROWS}".replace("\n", "\r\n"), id="crlf"),
        pytest.param(f"e/a.jpg\n2\n{ROWS}".replace("\n", "\r"), id="old-mac"),
        pytest.param(f"e/a.jpg\n2.0\n{ROWS}", id="decimal-count"),
        pytest.param(f"e/a.jpg\n2\n{ROWS}".rstrip(), id="no-last-newline"),
        pytest.param(f"e/a.jpg\n2\n{ROWS}\x1a", id="ctrl-z"),
        pytest.param(f"\ufeffe/a.jpg\n2\n{ROWS}", id="byte-order-mark"),
        pytest.param(f"e/a.jpg\n{ROWS}", id="no-count"),
        pytest.param(ROWS, id="rows-only"),
        pytest.param(f"7\n2\n{ROWS}", id="number-as-name"),
        pytest.param("a\n2\n10.0 20.0 30 40 9e-1 7 7\n1 2 3 4 .25 7 7\n", id="more-columns"),
    ],
)
def test_reader_takes_files_as_found_in_the_wild(tmp_path: Path, text: str) -> None:
    boxes, scores = read_wider_file(_file(tmp_path, text))
    assert boxes.tolist() == [[10, 20, 30, 40], [1, 2, 3, 4]]
    assert scores.tolist() == [0.9, 0.25]


def test_reader_leaves_scores_and_order_as_they_are(tmp_path: Path) -> None:
    text = "a\n3\n1 2 3 4 -0.5\n1.5 2 3 4 17.25\n-1 -2 0 4 0\n"
    boxes, scores = read_wider_file(_file(tmp_path, text))
    assert boxes.tolist() == [[1, 2, 3, 4], [1.5, 2, 3, 4], [-1, -2, 0, 4]]
    assert scores.tolist() == [-0.5, 17.25, 0]


@pytest.mark.parametrize("text", ["", "\n\n", "a.jpg\n0\n", "0\n", "\n0\n"])
def test_reader_takes_files_without_detections(tmp_path: Path, text: str) -> None:
    boxes, scores = read_wider_file(_file(tmp_path, text))
    assert boxes.shape == (0, 4)
    assert scores.shape == (0,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("a.jpg\n", "a.txt:2: expected the number of boxes", id="no-count"),
        pytest.param("a.jpg\nmany\n", "a.txt:2: .* received 'many'", id="word-as-count"),
        pytest.param("a.jpg\n-1\n", "a.txt:2: ", id="negative-count"),
        pytest.param("a.jpg\n1.5\n1 2 3 4 .5\n", "a.txt:2: ", id="half-a-box"),
        pytest.param("a.jpg\n3\n" + ROWS, "a.txt:2: expected 3 rows, received 2", id="truncated"),
        pytest.param("a.jpg\n1\n" + ROWS, "a.txt:2: expected 1 rows, received 2", id="too-many"),
        pytest.param("a.jpg\n2\n1 2 3 4 .5\n\n1 2 3 4\n", "a.txt:5: .*'1 2 3 4'", id="no-score"),
        pytest.param("a.jpg\n1\n1 2 x 4 .5\n", "a.txt:3: .*'1 2 x 4 .5'", id="letters"),
        pytest.param("a.jpg\n1\n1 2 3 4 nan\n", "a.txt:3: .*finite", id="nan-score"),
        pytest.param("a.jpg\n1\n1 2 inf 4 .5\n", "a.txt:3: .*finite", id="infinite-width"),
        pytest.param("1 2 3 4 nan\n", "a.txt:1: .*finite", id="rows-only-nan"),
        pytest.param("a.jpg\nnan\n", "a.txt:2: expected the number", id="nan-count"),
        pytest.param("a.jpg\n1\n1,2,3,4,.5\n", "a.txt:3: .*'1,2,3,4,.5'", id="commas"),
        pytest.param(f"7\n{ROWS}", "a.txt:1: expected 7 rows, received 2", id="number-no-count"),
    ],
)
def test_reader_names_the_malformed_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_wider_file(_file(tmp_path, text))


def test_reading_what_was_written_gives_the_same_boxes(tmp_path: Path) -> None:
    for name in ("e/b.jpg", "e/a.x.jpg", "f/c", "flat"):
        write_wider(tmp_path, name, np.array([[1.0, 2, 4, 8]]), np.array([0.5]))
    (tmp_path / "e" / ".b.123.tmp.txt").write_text("left by a killed writer")
    tables = read_wider(tmp_path)
    assert list(tables) == ["e/a.x", "e/b", "f/c", "flat"]
    assert all(table.tolist() == [[1, 2, 3, 6, 0.5]] for table in tables.values())


def test_folder_without_results_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no result files"):
        read_wider(tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        read_wider(tmp_path / "nowhere")


def test_what_is_hidden_is_no_result(tmp_path: Path) -> None:
    for name in ("e/a.txt", "e/._a.txt", "e/.tmp-x/new.txt", ".ipynb_checkpoints/a.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("a\n0\n")
    assert list(read_wider(tmp_path)) == ["e/a"]
