"""Tests of long jobs: one item's failure costs that item, and a second call continues."""

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from ssh_tf.errors import UnavailableError, UserError
from ssh_tf.inference.items import finished, keep_going, recorded
from ssh_tf.inference.journal import JOURNAL_FILE, Journal
from ssh_tf.inference.writers import Entry

LABEL = {"image": "a.jpg"}


def attempt(error: BaseException) -> list[Entry]:
    def work() -> Iterator[Entry]:
        yield {"image": "a.jpg", "faces": []}
        raise error

    return list(keep_going(LABEL, work))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (UserError("a.jpg is not an image."), "a.jpg is not an image."),
        (UserError("The server refused it."), "a.jpg: The server refused it."),
        (OSError(errno.EACCES, "Permission denied", "a.jpg"), "a.jpg: Permission denied"),
        (OSError(errno.ENAMETOOLONG, "File name too long"), "a.jpg: File name too"),
        (MemoryError(), "a.jpg: it needs more memory than there is."),
        (cv2.error("several\n  lines"), "a.jpg: several lines"),
    ],
)
def test_a_failed_item_is_named_and_what_it_gave_is_kept(error: BaseException, message: str):
    first, last = attempt(error)
    assert first == {"image": "a.jpg", "faces": []}
    assert last["image"] == "a.jpg"
    assert last["error"].startswith(message)
    assert "\n" not in last["error"]


def test_what_opencv_refuses_costs_its_item_alone():
    def work() -> Iterator[Entry]:
        cv2.resize(np.zeros((0, 0, 3), np.uint8), (1, 1))
        yield {}

    (entry,) = keep_going(LABEL, work)
    assert "error" in entry


@pytest.mark.parametrize(
    "error",
    [
        UnavailableError("No answer"),
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EROFS, "Read-only file system"),
        ValueError("a fault of the program"),
        KeyboardInterrupt(),
    ],
)
def test_what_concerns_every_item_ends_the_work(error: BaseException):
    with pytest.raises(type(error)):
        attempt(error)


class Job:
    """Items with one result file each, detected by a counter."""

    def __init__(self, folder: Path, names: str = "abc") -> None:
        self.folder = folder
        self.sources = [folder / name for name in names]
        for source in self.sources:
            source.write_text(source.name)
        self.detected: list[str] = []
        self.bad: set[str] = set()

    def run(self, work: str = "model") -> list[Entry]:
        journal = Journal(self.folder, work)
        return [entry for source in self.sources for entry in self._item(source, journal)]

    def _item(self, source: Path, journal: Journal) -> Iterator[Entry]:
        def detect() -> Iterator[Entry]:
            self.detected.append(source.name)
            for frame in range(3):
                if source.name in self.bad and frame == 1:
                    raise UserError(f"{source} is bad.")
                yield {"video": str(source), "frame": frame}
            self.result(source.name).touch()

        kept = finished(str(source), journal, lambda _: [self.result(source.name)])
        return kept or recorded({"video": str(source)}, detect, journal)

    def result(self, name: str) -> Path:
        return self.folder / f"{name}.result"

    def again(self, work: str = "model") -> str:
        """Runs once more and returns what was detected anew."""
        self.detected = []
        self.entries = self.run(work)
        return "".join(self.detected)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    job = Job(tmp_path)
    job.first = job.run()
    assert "".join(job.detected) == "abc"
    return job


def test_a_second_call_detects_nothing_and_gives_the_same(job: Job):
    assert job.again() == ""
    assert job.entries == job.first
    assert job.again() == ""


def test_a_failed_item_is_tried_again_and_the_others_are_not(tmp_path: Path):
    job = Job(tmp_path)
    job.bad = {"b"}
    first = job.run()
    assert [entry["frame"] for entry in first if "frame" in entry] == [0, 1, 2, 0, 0, 1, 2]
    assert job.again() == "b"
    assert job.entries == first
    job.bad = set()
    assert job.again() == "b"
    assert len(job.entries) == 9


def test_another_model_or_setting_detects_everything_anew(job: Job):
    assert job.again("another model") == "abc"
    assert job.again("another model") == ""
    assert job.again() == "abc"


def test_a_changed_source_is_detected_anew(job: Job):
    job.sources[1].write_text("another picture")
    assert job.again() == "b"
    os.utime(job.sources[2], ns=(1, 1))
    assert job.again() == "c"


def test_a_missing_result_is_made_anew(job: Job):
    job.result("a").unlink()
    assert job.again() == "a"
    assert job.result("a").exists()


@pytest.mark.parametrize("cut", [1, 40, 120, 500])
def test_a_torn_journal_costs_the_torn_items_alone(job: Job, cut: int):
    path = job.folder / JOURNAL_FILE
    path.write_bytes(path.read_bytes()[:-cut])
    redone = job.again()
    assert redone in ("c", "bc", "abc")
    assert job.entries == job.first
    assert job.again() == ""


@pytest.mark.parametrize("seed", range(20))
def test_a_damaged_journal_never_gives_other_entries(job: Job, seed: int):
    path = job.folder / JOURNAL_FILE
    rng = np.random.default_rng(seed)
    data = bytearray(path.read_bytes())
    data[rng.integers(len(data))] = rng.integers(256)
    path.write_bytes(data)
    job.again()
    assert job.entries == job.first


@pytest.mark.parametrize("text", ["", "null\n", '{"end": 1}\n', '{"end": []}\n', "[[[[\n", "\0\n"])
def test_a_journal_of_something_else_is_no_journal(job: Job, text: str):
    (job.folder / JOURNAL_FILE).write_text(text)
    assert job.again() == "abc"
    assert job.entries == job.first


def test_the_journal_holds_the_finished_items_only_once(job: Job):
    job.result("a").unlink()
    for _ in range(3):
        job.again()
    lines = (job.folder / JOURNAL_FILE).read_text().splitlines()
    ends = [json.loads(line)["end"] for line in lines if line.startswith('{"end"')]
    assert sorted(ends) == sorted(str(source) for source in job.sources)
    assert len(lines) == 12


def test_an_interrupted_item_is_not_finished(tmp_path: Path):
    job = Job(tmp_path)
    journal = Journal(tmp_path, "model")
    entries = job._item(job.sources[0], journal)
    next(entries)
    entries.close()
    assert job.again() == "abc"
