"""Detections as rows of Parquet files."""

from pathlib import Path

import pytest

pa = pytest.importorskip("pyarrow", reason='needs pyarrow: pip install "ssh-tf[ray]"')
pq = pytest.importorskip("pyarrow.parquet")

from ssh_tf.distributed import rows as table  # noqa: E402

FACES = [
    {"box": [1.25, 2.01, 1234.56, 4000.07], "score": 0.999999},
    {"box": [0.0, -3.1, 5.0, 6.0], "score": 0.050001},
]
ENTRIES = [
    {"image": "a.jpg", "height": 7, "width": 9, "faces": FACES},
    {"image": "s3://b/c.jpg", "height": 1, "width": 1, "faces": []},
    {"image": "d.jpg", "height": 7, "width": 9, "faces": FACES[:1], "crops": ["e/d_1.jpg"]},
    {"image": "f.jpg", "error": "f.jpg can't be read (Is a directory)."},
]


def rows() -> list[table.Row]:
    return [
        table.row_of(entry, (5, 10**18 + i), picture="p.jpg", model="m", node="n")
        for i, entry in enumerate(ENTRIES)
    ]


def test_entries_are_what_they_were(tmp_path: Path):
    table.write_rows(tmp_path / "part.parquet", rows(), {"work": "w"})
    read = list(table.read_rows(tmp_path / "part.parquet"))
    assert [table.entry_of(row) for row in read] == ENTRIES
    assert [table.stamp_of(row) for row in read] == [(5, 10**18 + i) for i in range(4)]
    assert table.read_about(tmp_path / "part.parquet") == {"work": "w"}
    assert [row["image"] for row in table.finished_rows(tmp_path / "part.parquet")] == [
        "a.jpg",
        "s3://b/c.jpg",
        "d.jpg",
    ]
    assert table.files_of(read[2]) == ["p.jpg", "e/d_1.jpg"]
    assert table.count_faces(read, 0.05) == 3
    assert table.count_faces(read, 0.5) == 2


def test_the_columns_are_those_that_docs_scale_md_names(tmp_path: Path):
    table.write_rows(tmp_path / "part.parquet", rows(), {})
    found = pq.read_table(tmp_path / "part.parquet")
    text = (Path(__file__).parents[2] / "docs" / "scale.md").read_text(encoding="utf-8")
    documented = [line.split("`")[1] for line in text.splitlines() if line.startswith("| `")]
    assert found.schema.names == documented[: len(found.schema.names)]
    assert found["boxes"].type.value_type.list_size == 4


@pytest.mark.parametrize("content", [None, b"", b"no table", "other columns"])
def test_what_is_no_file_of_rows_has_none(tmp_path: Path, content: bytes | str | None):
    path = tmp_path / "part.parquet"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        pq.write_table(pa.table({"a": [1]}), path)
    assert table.finished_rows(path) == []
    assert table.read_about(path) == {}


def test_names_that_are_no_unicode_are_shown_by_their_codes(tmp_path: Path):
    entry = {"image": "a\udcff.jpg", "error": "a\udcff.jpg is gone"}
    row = table.row_of(entry, table.UNKNOWN, model="m", node="")
    table.write_rows(tmp_path / "part.parquet", [row], {})
    (read,) = table.read_rows(tmp_path / "part.parquet")
    assert (read["image"], read["error"]) == ("a\\udcff.jpg", "a\\udcff.jpg is gone")
