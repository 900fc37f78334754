"""One local Ray of two workers: deaths, photos, evaluation, records. The rest needs no Ray.

The Ray starts in seconds, and each worker that reads images imports TensorFlow: hence few tests.
"""

import contextlib
import dataclasses
import functools
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ray = pytest.importorskip("ray", reason='needs Ray: pip install "ssh-tf[ray]"')
pytest.importorskip("pyarrow", reason='needs pyarrow: pip install "ssh-tf[ray]"')

from ssh_tf import cli  # noqa: E402
from ssh_tf.data.builder import build_records  # noqa: E402
from ssh_tf.data.image_files import FolderImages  # noqa: E402
from ssh_tf.data.shards import ShardWork  # noqa: E402
from ssh_tf.data.sources import Source, open_wider  # noqa: E402
from ssh_tf.distributed import crew, records  # noqa: E402
from ssh_tf.distributed import detectors as module  # noqa: E402
from ssh_tf.distributed.cluster import connected, import_ray, node_name  # noqa: E402
from ssh_tf.distributed.detectors import RayDetectors, load_model  # noqa: E402
from ssh_tf.distributed.rows import read_rows  # noqa: E402
from ssh_tf.errors import CrashedError, UserError  # noqa: E402
from ssh_tf.evaluation.run import evaluate_wider, open_annotated  # noqa: E402
from ssh_tf.inference.detector import Detector  # noqa: E402
from tests.support.gray import Gray  # noqa: E402
from tests.support.perils import DeadlyImages, no_model, perilous  # noqa: E402
from tests.support.small import encode, picture, write_wider  # noqa: E402

SIZE = {"shorter_px": 64}


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """A Ray of this machine with two CPUs."""
    import_ray().init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=80 * 2**20,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    yield
    ray.shutdown()


def outcome(result: Callable[[], Any]) -> Any:
    try:
        return result()
    except UserError as error:
        return error


def test_what_dead_workers_were_at_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(crew, "_MOST_DEATHS", 2)
    call = functools.partial(perilous, folder=tmp_path)
    with contextlib.closing(RayDetectors(Gray)) as detectors:
        # Taken as it is needed: the numbers have no end of which a driver would live to tell.
        found = {item: outcome(result) for item, result in detectors.map(call, iter(range(20)))}
        with pytest.raises(CrashedError, match="the process that worked on it died"):
            detectors.call_apart(call, 13)
        assert detectors.call_apart(call, 6) == (12, "gray")
    assert list(found) == list(range(20))
    assert str(found.pop(13)) == "the process that worked on it died, 2 times."
    assert str(found.pop(5)) == "five is refused."
    assert found == {item: (2 * item, "gray") for item in found}
    deaths = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert set(deaths) == {"A worker died. What it worked on is done again."}
    # 13 twice and 3; the actor of 11 may answer before it dies.
    assert len(deaths) in (3, 4)


def test_what_hinders_a_start_is_said_in_one_line():
    with pytest.raises(UserError, match=r"^no\.keras does not exist\.$"):
        RayDetectors(no_model)
    with pytest.raises(UserError, match=r"detector of 64 CPUs and 0 GPUs; all together have 2 and"):
        RayDetectors(Gray, cpus=64)
    with pytest.raises(UserError, match=r"detector of 1 CPUs and 0\.5 GPUs"):
        RayDetectors(Gray, gpus=0.5)


def content(folder: Path) -> dict[str, bytes]:
    names = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    return {path.name: path.read_bytes() for path in names}


def stopped_after(count: int) -> Callable[..., Iterator[Any]]:
    """Returns a writer of shards that is interrupted, as a driver is, after some."""

    def write(source: Source, folder: Path, *about: Any) -> Iterator[Any]:
        with contextlib.closing(records.write_on_ray(source, folder, *about)) as written:
            for number, done in enumerate(written):
                if number == count:
                    raise KeyboardInterrupt
                yield done

    return write


def test_records_are_byte_for_byte_those_of_one_machine_however_often_work_was_killed(
    tmp_path: Path,
):
    write_wider(tmp_path / "wider")
    broken = tmp_path / "wider" / "WIDER_train" / "images" / "0--Parade" / "b.png"
    whole = broken.read_bytes()
    source = open_wider(tmp_path / "wider", "train")
    build_records(source, tmp_path / "one", shards=3)

    images = source.images
    assert isinstance(images, FolderImages)
    deadly = dataclasses.replace(source, images=DeadlyImages(images.folder, tmp_path / "killed"))
    broken.write_bytes(b"x" * len(whole))
    with pytest.raises(UserError, match=r"^\S*/0--Parade/b.png is neither JPEG nor PNG"):
        build_records(source, tmp_path / "broken", shards=3, workers=records.write_on_ray)
    broken.write_bytes(whole)
    for count in (0, 1, 1):
        with pytest.raises(KeyboardInterrupt):
            build_records(deadly, tmp_path / "many", shards=3, workers=stopped_after(count))
    build_records(deadly, tmp_path / "many", shards=3, workers=records.write_on_ray)
    assert (tmp_path / "killed").exists()
    assert content(tmp_path / "many") == content(tmp_path / "one")


def test_a_shard_at_which_processes_die_ends_the_build_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
):
    def die(reference: Any) -> None:
        del reference
        raise ray.exceptions.WorkerCrashedError

    monkeypatch.setattr(ray, "get", die)
    with pytest.raises(UserError, match=r"^a.tfrecord: 6 processes died while they wrote it\. Is"):
        records._result(None, ShardWork("a.tfrecord", [], ""))


def test_a_ray_that_is_connected_stays():
    with connected("auto"):
        assert node_name()
    assert ray.is_initialized()


# From here on two workers hold both CPUs.


@pytest.fixture(scope="module")
def detectors() -> Iterator[RayDetectors]:
    """Two workers with the shipped model."""
    load = functools.partial(load_model, "light", SIZE, threads=1)
    with contextlib.closing(RayDetectors(load)) as detectors:
        yield detectors


def test_the_command_says_and_writes_what_it_does_without(
    tmp_path: Path,
    detectors: RayDetectors,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    photos, one, many, rows = (tmp_path / name for name in ("photos", "one", "many", "rows"))
    photos.mkdir()
    for i in range(20):
        image = encode(picture(64 + i, 96, seed=i))
        (photos / f"{i:02}.jpg").write_bytes(image[: 99 if i == 11 else None])
    asked = []

    def those(load: Any, **shares: float) -> Any:
        asked.append((load.args, load.keywords, shares))
        return detectors

    monkeypatch.setattr(module, "RayDetectors", those)
    monkeypatch.setattr(detectors, "close", lambda: None)
    words = ["detect", str(photos), "--shorter_px", "64", "--show_from", "0.06"]
    assert cli.main([*words, "--json", f"{one}.json", "--out", str(one)]) == 1
    said = capsys.readouterr().out
    words += ["--json", f"{many}.json", "--out", str(many), "--parquet", str(rows)]
    assert cli.main([*words, "--ray", "--cpus", "0.5"]) == 1
    assert asked == [(("light", SIZE), {"threads": 1}, {"cpus": 0.5, "gpus": 0.0})]
    assert Path(f"{one}.json").read_bytes() == Path(f"{many}.json").read_bytes()
    expected = said.replace(f" in {one}\n", f" in {many}, boxes in {rows}\n")
    assert capsys.readouterr().out == expected
    assert content(one) == content(many)
    nodes = {row["node"] for file in rows.glob("*.parquet") for row in read_rows(file)}
    assert nodes == {node_name()} != {""}


def test_the_evaluation_is_that_of_one_process(tmp_path: Path, detectors: RayDetectors):
    write_wider(tmp_path / "wider", "val")
    (tmp_path / "wider" / "WIDER_val" / "images" / "1--Empty" / "d.jpg").write_bytes(b"bad")
    one = Detector.load("light", **SIZE)
    results = []
    for detector, out in ((one, "one"), (detectors, "many")):
        evaluate_wider(detector, open_annotated(tmp_path / "wider"), tmp_path / out)
        files = sorted((tmp_path / out / "detections").rglob("*.txt"))
        results.append({path.name: path.read_bytes() for path in files})
    assert results[0] == results[1]
    assert list(results[0]) == ["a.txt", "b.txt", "c.txt"]
    pixels = picture()
    assert detectors.detect(pixels).to_dict() == one.detect(pixels).to_dict()
    assert repr(detectors) == "RayDetectors(2 workers)"
