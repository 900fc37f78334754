"""Parts: what is detected, kept, refused and said. A detector of this process stands for many."""

import errno
import io
import json
import logging
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pq = pytest.importorskip("pyarrow.parquet", reason='needs pyarrow: pip install "ssh-tf[ray]"')

from ssh_tf.distributed import detect as module  # noqa: E402
from ssh_tf.distributed import rows as table  # noqa: E402
from ssh_tf.distributed.detect import Summary, detect_parts, entries_of  # noqa: E402
from ssh_tf.distributed.listing import Part, list_inputs  # noqa: E402
from ssh_tf.errors import CrashedError, UserError  # noqa: E402
from ssh_tf.files import folder_lock  # noqa: E402
from ssh_tf.imaging.folders import find_images  # noqa: E402
from ssh_tf.inference.gallery import Outputs, detect_files  # noqa: E402
from tests.support.gray import Gray, Here  # noqa: E402
from tests.support.small import encode, picture  # noqa: E402


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`photos/` with 18 photos, three parts, of which one is broken; the working folder is its."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for i in range(18):
        content = encode(picture(20 + i, 30, seed=i))
        (tmp_path / "photos" / f"{i:02}.jpg").write_bytes(content[: 99 if i == 11 else None])
    return Path("photos")


def detect(detector: Any, *paths: str, outputs: Outputs | None = None, **options: Any):
    inputs = list_inputs(paths or ["photos"], [])
    return list(detect_parts(detector, inputs, outputs or Outputs(), Path("rows"), **options))


def entries(folder: str = "rows") -> list[dict[str, Any]]:
    return [entry for file in sorted(Path(folder).glob("*.parquet")) for entry in entries_of(file)]


def test_the_entries_are_those_of_detect(photos: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.WARNING)
    found = detect(Here())
    expected = list(detect_files(Gray(), find_images(["photos"]).images, Outputs()))
    assert entries() == expected
    assert [path.name for path, _ in found] == [f"part-0000000{i}.parquet" for i in range(3)]
    images, failed = [s.images for _, s in found], [len(s.failures) for _, s in found]
    assert (images, failed) == ([8, 7, 2], [0, 1, 0])
    assert sum(s.faces for _, s in found) == 17  # the sure face of each; the other has 0.25
    messages = [record.getMessage() for record in caplog.records]
    assert messages[0] == messages[1] == f"Failed: {expected[11]['error']}"
    job = json.loads(Path("rows/_job.json").read_text())
    assert {key: job[key] for key in ("finished", "images", "failed", "parts")} == {
        "finished": True,
        "images": 17,
        "failed": 1,
        "parts": 3,
    }


def test_a_second_call_detects_what_failed_changed_or_was_lost(photos: Path):
    detect(Here())
    again = Here()
    assert [summary.kept for _, summary in detect(again)] == [8, 7, 2]
    assert again.seen == 0  # the broken one is read again, and is broken still

    (photos / "11.jpg").write_bytes(encode(picture(31, 30, seed=11)))
    os.utime(photos / "03.jpg", ns=(1, 1))
    Path("rows/part-00000002.parquet").write_bytes(b"torn")
    again = Here()
    assert [summary.kept for _, summary in detect(again)] == [7, 7, 0]
    assert again.seen == 1 + 1 + 2
    assert [entry["image"] for entry in entries()] == [f"photos/{i:02}.jpg" for i in range(18)]
    assert not any("error" in entry for entry in entries())


def test_a_call_that_was_stopped_goes_on(photos: Path):
    inputs, stopped = list_inputs(["photos"], []), Here()
    parts = detect_parts(stopped, inputs, Outputs(), Path("rows"))
    next(parts)
    parts.close()
    assert not json.loads(Path("rows/_job.json").read_text())["finished"]
    again = Here()
    detect(again)
    assert stopped.seen + again.seen == 17


def test_parts_of_other_inputs_go(photos: Path):
    detect(Here())
    detect(Here(), "photos/00.jpg", "photos/01.jpg")
    assert [entry["image"] for entry in entries()] == ["photos/00.jpg", "photos/01.jpg"]


def test_results_of_another_model_are_refused_or_replaced(photos: Path):
    detect(Here())
    before = entries()
    with pytest.raises(UserError, match="rows holds results of another model or of other settings"):
        detect(Here("other"))
    assert entries() == before
    Path("rows/_job.json").unlink()
    with pytest.raises(UserError, match="rows holds results of another model"):
        detect(Here())
    other = Here("other")
    detect(other, private=True)
    assert other.seen == 17


def test_two_jobs_on_one_folder_are_refused(photos: Path):
    Path("rows").mkdir()
    with (
        folder_lock(Path("rows"), "output folder"),
        pytest.raises(UserError, match="rows: another process works on this output folder"),
    ):
        detect(Here())


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_full_disk_ends_the_work_and_keeps_what_was_done(
    photos: Path, monkeypatch: pytest.MonkeyPatch, code: int
):
    real = table.write_rows

    def write(path: Path, *about: Any) -> None:
        if path.name.endswith("1.parquet"):
            raise OSError(code, os.strerror(code), str(path))
        real(path, *about)

    monkeypatch.setattr(table, "write_rows", write)
    with pytest.raises(OSError, match=os.strerror(code)):
        detect(Here())
    assert [entry["image"] for entry in entries()] == [f"photos/{i:02}.jpg" for i in range(8)]


def test_pictures_and_crops_are_written_and_missed(photos: Path):
    outputs = Outputs(pictures=Path("out"), crops=Path("crops"))
    detect(Here(), "photos/00.jpg", "photos/01.jpg", outputs=outputs)
    (first, second) = entries()
    assert first["crops"] == ["crops/00_1.jpg"]
    assert Path("out/00.jpg").is_file()
    assert Path(second["crops"][0]).is_file()
    Path("out/00.jpg").unlink()
    again = Here()
    detect(again, "photos/00.jpg", "photos/01.jpg", outputs=outputs)
    assert again.seen == 1
    assert Path("out/00.jpg").is_file()


def archive(path: str, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def test_archives_are_read_in_one_pass_and_once(photos: Path, monkeypatch: pytest.MonkeyPatch):
    photo = encode(picture())
    members = {"a.jpg": photo, "a.json": b"{}", "b/c.png": encode(picture(9, 8), ".png")}
    archive("s.tar", {**members, "../d.jpg": photo, "bad.jpg": b"bad", ".e.jpg": photo})
    ((_, summary),) = detect(Here(), "s.tar")
    assert [entry["image"] for entry in entries()] == [
        "s.tar/a.jpg",
        "s.tar/b/c.png",
        "s.tar/../d.jpg",
        "s.tar/bad.jpg",
    ]
    assert [(e.get("width"), e.get("height")) for e in entries()[:2]] == [(96, 64), (8, 9)]
    assert entries()[2]["error"] == "s.tar/../d.jpg leads out of its archive."
    assert entries()[3]["error"].startswith("s.tar/bad.jpg is not a whole image")
    assert (summary.images, len(summary.failures)) == (2, 2)

    archive("s.tar", members)
    detect(Here(), "s.tar")
    monkeypatch.setattr(module, "images_of", None)  # A finished archive is not opened.
    assert detect(Here(), "s.tar")[0][1].kept == 2


@pytest.mark.parametrize("cut", [700, 0])
def test_an_archive_that_ends_early_is_named_and_what_was_in_it_is_kept(photos: Path, cut: int):
    archive("s.tar", {"a.jpg": encode(picture(9, 8)), "b.jpg": encode(picture(64, 96))})
    size = len(encode(picture(9, 8)))
    whole = Path("s.tar").read_bytes()
    Path("s.tar").write_bytes(whole[: 512 * (1 + -(-size // 512)) + cut] if cut else b"x" * 700)
    ((_, summary),) = detect(Here(), "s.tar")
    assert summary.images == (1 if cut else 0)
    assert summary.failures[-1].startswith("s.tar is no whole tar archive (")


class Mortal(Here):
    """Workers that die at a photo: of its part, then of itself alone."""

    def map(self, function: Any, items: Any) -> Iterator[tuple[Any, Any]]:
        def die() -> Summary:
            raise CrashedError("the process that worked on it died, 3 times.")

        for item, result in super().map(function, items):
            yield item, die if item.number == 1 else result

    def call_apart(self, function: Any, part: Part) -> Any:
        if getattr(function, "keywords", {}).get("index") == 4:
            raise CrashedError("the process that worked on it died.")
        return super().call_apart(function, part)


def test_a_photo_that_kills_workers_costs_itself_alone(photos: Path):
    whole = [entry for entry in detect_files(Gray(), find_images(["photos"]).images, Outputs())]
    detect(Mortal())
    reason = "photos/12.jpg: the process that worked on it died."
    assert entries() == [*whole[:12], {"image": "photos/12.jpg", "error": reason}, *whole[13:]]
    again = Here()
    detect(again)  # It may have been the machine's fault.
    assert again.seen == 1
    assert entries() == whole


def test_rows_name_the_model_and_bad_images_have_a_status(photos: Path):
    detect(Here())
    columns = pq.read_table("rows").to_pydict()
    assert columns["status"].count("failed") == 1
    assert set(columns["model"]) == {"gray"}
    assert np.array(columns["boxes"][0]).shape == (2, 4)
