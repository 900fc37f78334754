"""The training loop: replicas, accumulation, resuming, and what stops it."""

import contextlib
import functools
import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ssh_tf.config import Config, validate
from ssh_tf.data.builder import build_records
from ssh_tf.data.records import to_example
from ssh_tf.data.sources import open_wider
from ssh_tf.data.synthetic import generate
from ssh_tf.errors import InterruptedRunError, UserError
from ssh_tf.files import folder_lock
from ssh_tf.model.ssh import SSH
from ssh_tf.model.weights import build_network, save_network
from ssh_tf.training.checkpoints import Checkpoints
from ssh_tf.training.state import State, build_state, freeze
from ssh_tf.training.steps import make_steps
from ssh_tf.training.strategy import micro_batches
from ssh_tf.training.table import read_table
from ssh_tf.training.trainer import train
from ssh_tf.training.validation import Validated
from tests.support.small import encode, mirrored, picture

SIDE = 96
LIGHT: dict[str, Any] = {
    "weights": "random",
    "backbone": "mobilenet",
    "fuse_channels": 8,
    "modules": [
        {"name": f"m{i}", "stride": 4 << i, "channels": 8, "anchor_scales": [s, 2 * s]}
        | {"allowed_border": 512}
        for i, s in ((1, 1), (2, 4), (3, 16))
    ],
}
# For what does not depend on the number of modules: less to trace.
ONE_MODULE = {**LIGHT, "modules": LIGHT["modules"][1:2]}
MODELS: dict[str, dict[str, Any]] = {"mobilenet": LIGHT, "vgg16": {"weights": "random"}}
# One face in the first image, three in the second: replicas have unequal numbers of positives.
FACES = [[[8, 8, 30, 34]], [[2, 2, 20, 22], [70, 4, 92, 30], [24, 24, 84, 90]]]


def settings(model: dict[str, Any] = LIGHT, **train_settings: object) -> Config:
    """A recipe of few steps without decay, on images of 96 px."""
    return validate(
        {
            "model": model,
            "data": {"shorter_px": SIDE, "longer_px": SIDE + 16},
            "train": {
                "learning_rate": 0.001,
                "checkpoint_every": 2,
                "log_every": 1,
                "frozen": ["conv1", "conv_dw_1_"],
            }
            | train_settings,
        },
        origin="test",
    )


def batches(per_replica: int) -> tf.data.Dataset:
    """The two images of `FACES`, `per_replica` at a time, on a canvas with padding below."""
    images = np.random.default_rng(1).uniform(0, 255, (2, SIDE + 9, SIDE, 3)).astype(np.float32)
    images[:, SIDE:] = 0
    faces = np.full((2, 3, 4), -1, np.float32)
    for row, boxes in zip(faces, FACES, strict=True):
        row[: len(boxes)] = boxes
    columns = {"images": images, "sizes": np.full((2, 2), SIDE, np.int32), "faces": faces}
    return tf.data.Dataset.from_tensor_slices(columns).repeat().batch(per_replica)


def updated(config: Config, devices: list[str]) -> tuple[dict[str, float], State]:
    """Trains one update on `devices`: the mean terms, and the changed state."""
    strategy = mirrored(*devices)
    state = build_state(config, strategy)
    dataset = strategy.distribute_datasets_from_function(
        lambda context: batches(config.train.images_per_replica)
    )
    accumulate, update = make_steps(state, strategy, config.train, dataset.element_spec)
    iterator = iter(dataset)
    count = micro_batches(config.train, len(devices))
    found = [accumulate(next(iterator)) for _ in range(count - 1)]
    last, norm = update(next(iterator))
    found.append(last)
    assert update.experimental_get_tracing_count() == 1
    local = strategy.experimental_local_results
    terms = {
        name: float(np.mean([part.numpy() for each in found for part in local(each[name])]))
        for name in last
    }
    return terms | {"norm": float(local(norm)[0])}, state


@functools.cache
def joined(backbone: str) -> tuple[dict[str, float], list[np.ndarray]]:
    """One device, both images in one batch: terms and velocities after an update."""
    config = settings(MODELS[backbone], images_per_update=2, images_per_replica=2)
    terms, state = updated(config, ["CPU:0"])
    return terms, velocities_of(state)


@pytest.mark.parametrize(
    ("backbone", "devices"),
    [
        pytest.param("mobilenet", ["CPU:0", "CPU:1"], id="mobilenet-two-replicas"),
        pytest.param("mobilenet", ["CPU:0"], id="mobilenet-two-micro-batches"),
        pytest.param("vgg16", ["CPU:0", "CPU:1"], id="vgg16-two-replicas"),
    ],
)
def test_an_update_is_the_same_however_its_images_are_spread(backbone: str, devices: list[str]):
    terms, velocities = joined(backbone)
    config = settings(MODELS[backbone], images_per_update=2, images_per_replica=1)
    their_terms, state = updated(config, devices)
    assert terms["m1_positives"] > 0
    assert terms["m2_positives"] > 0
    assert their_terms == pytest.approx(terms, rel=1e-5, abs=1e-7)
    # After the first update a velocity is -lr x gradient: comparing them compares gradients.
    for ours, theirs in zip(velocities, velocities_of(state), strict=True):
        np.testing.assert_allclose(theirs, ours, atol=1e-5 * np.abs(ours).max())
    for accumulator in state.accumulators:
        assert not np.any(accumulator.numpy())


def velocities_of(state: State) -> list[np.ndarray]:
    return [velocity.numpy() for velocity in state.optimizer.momentums]


def test_official_freezing_leaves_19506212_trainable_parameters():
    network = SSH(Config().model)
    freeze(network, Config().train.frozen)
    assert sum(int(np.prod(v.shape)) for v in network.trainable_variables) == 19_506_212


def test_images_of_an_update_must_divide_evenly():
    with pytest.raises(UserError, match=r"images_per_update \(8\) must be a multiple of 3 devices"):
        micro_batches(Config().train, 3)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("records")
    generate(folder / "wider", images=6, seed=0, size=(96, 96), smallest_px=20)
    build_records(open_wider(folder / "wider", "train"), folder / "records", shards=2)
    return folder / "records"


def on_records(records: Path, **train_settings: object) -> Config:
    config = settings(ONE_MODULE, **{"images_per_update": 1, **train_settings})
    return config.model_copy(
        update={"data": config.data.model_copy(update={"records": {str(records): 1.0}})}
    )


# All that a run remembers: moving averages, augmentation, micro-batches.
FULL = {"steps": 4, "ema_decay": 0.5, "images_per_update": 2, "images_per_replica": 1}


def started_from(config: Config, file: Path) -> Config:
    return config.model_copy(
        update={"model": config.model.model_copy(update={"weights": str(file)})}
    )


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of weights."""
    file = tmp_path_factory.mktemp("start") / "start.keras"
    save_network(build_network(settings(ONE_MODULE).model, seed=1), file)
    return file


@pytest.fixture(scope="module")
def undisturbed(records: Path, start: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("undisturbed")
    train(started_from(on_records(records, **FULL), start), workdir)
    return workdir


def weights_of(workdir: Path) -> Iterator[tuple[str, np.ndarray]]:
    steps = Checkpoints(workdir / "checkpoints").steps()
    checkpoint = tf.train.load_checkpoint(str(workdir / "checkpoints" / f"ckpt-{steps[-1]}"))
    for name in sorted(checkpoint.get_variable_to_shape_map()):
        if "VARIABLE_VALUE" in name:
            yield name, checkpoint.get_tensor(name)


def assert_same_end(workdir: Path, undisturbed: Path) -> None:
    pairs = list(zip(weights_of(workdir), weights_of(undisturbed), strict=True))
    # All weights; velocities and averages of those that are not frozen; the step.
    assert len(pairs) >= 178
    for (name, resumed), (_, straight) in pairs:
        np.testing.assert_array_equal(resumed, straight, err_msg=name)
    ours, theirs = (read_table(folder / "logs.csv") for folder in (workdir, undisturbed))
    timing = {"images_per_second", "waiting"}
    assert [{k: v for k, v in row.items() if k not in timing} for row in ours] == [
        {k: v for k, v in row.items() if k not in timing} for row in theirs
    ]


class KilledError(Exception):
    pass


def test_a_run_killed_and_then_stopped_ends_with_the_same_bits(
    records: Path, undisturbed: Path, start: Path, tmp_path: Path
):
    """Also without the file that its weights began from."""
    file = Path(shutil.copy(start, tmp_path / "start.keras"))
    config = started_from(on_records(records, **FULL), file)
    workdir = tmp_path / "run"

    def kill(step: int, logs: object) -> None:
        if step == 3:  # one step after the checkpoint of step 2
            raise KilledError

    def stop(step: int, logs: object) -> None:
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KilledError):
        train(config, workdir, on_step=kill)
    assert Checkpoints(workdir / "checkpoints").steps()[-1] == 2
    file.unlink()
    with pytest.raises(InterruptedRunError, match="after step 3, which is saved") as stopped:
        train(config, workdir, on_step=stop)
    assert stopped.value.number == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == before
    assert Checkpoints(workdir / "checkpoints").steps()[-1] == 3
    train(config, workdir)
    assert_same_end(workdir, undisturbed)


def test_a_second_run_in_the_same_folder_is_refused(records: Path, tmp_path: Path):
    with (
        folder_lock(tmp_path, "run"),
        pytest.raises(UserError, match="another process works on this run"),
    ):
        train(on_records(records, steps=1), tmp_path)


def test_a_run_leaves_model_settings_checkpoint_logs_and_its_environment(undisturbed: Path):
    assert (undisturbed / "model.keras").is_file()
    assert (undisturbed / "config.yaml").is_file()
    assert list((undisturbed / "logs").glob("events.*"))
    assert Checkpoints(undisturbed / "checkpoints").steps()[-1] == 4
    record = json.loads((undisturbed / "environment.json").read_text())
    assert record["tensorflow"] == tf.__version__
    assert (record["replicas"], record["micro_batches"]) == (1, 2)
    rows = read_table(undisturbed / "logs.csv")
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    for row in rows:
        assert row["loss"] == pytest.approx(row["m2_cls_loss"] + row["m2_box_loss"])
        assert row["m2_negatives"] > 0
        assert row["gradient_norm"] > 0
        assert 0 <= row["waiting"] <= 1


def test_another_architecture_in_the_same_folder_is_refused(records: Path, undisturbed: Path):
    config = on_records(records, **FULL)
    other = config.model_copy(update={"model": config.model.model_copy(update={"context": False})})
    with pytest.raises(UserError, match=r"another architecture: model\.context differs"):
        train(other, undisturbed)


def test_an_image_that_cannot_be_decoded_is_named(tmp_path: Path):
    facts = {"size": (64, 96), "corners": np.float32([[1, 1, 30, 30]])}
    shard = tmp_path / "records" / "0.tfrecord"
    shard.parent.mkdir()
    with tf.io.TFRecordWriter(str(shard)) as writer:
        for name, end in (("whole.jpg", None), ("cut.jpg", 900)):
            attributes = np.zeros((1, 6), int)
            encoded = encode(picture())[:end]
            writer.write(to_example(encoded, name=name, attributes=attributes, **facts))
    shards = [{"name": shard.name, "bytes": shard.stat().st_size}]
    manifest = {"schema": 1, "images": 2, "faces": 2, "shards": shards}
    (tmp_path / "records" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=r"Image cut\.jpg in .*records can't be decoded") as error:
        train(on_records(tmp_path / "records", steps=4), tmp_path / "run")
    assert "\n" not in str(error.value)


def test_a_validation_that_was_not_reached_is_made_up(records: Path, tmp_path: Path):
    config = on_records(records, steps=2)
    train(config, tmp_path)  # as if killed before its validation
    (tmp_path / "model.keras").unlink()
    steps: list[int] = []
    train(
        config,
        tmp_path,
        on_step=lambda step, logs: steps.append(step),
        validate=lambda network: Validated({"hard": 0.25}, ()),
    )
    assert steps == []
    assert read_table(tmp_path / "validation.csv") == [{"step": 2, "hard": 0.25}]
    assert (tmp_path / "best.keras").is_file()


def test_a_signal_before_the_first_update_ends_the_run(
    records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    before = signal.getsignal(signal.SIGINT)

    def swallow(config: Config, *others: object, **more: object) -> State:
        with contextlib.suppress(InterruptedRunError):  # as some libraries do
            os.kill(os.getpid(), signal.SIGINT)
        return build_state(config, *others, **more)

    monkeypatch.setattr("ssh_tf.training.trainer.build_state", swallow)
    with pytest.raises(InterruptedRunError, match="stopped by SIGINT before the first update"):
        train(on_records(records, steps=1), tmp_path)
    assert not (tmp_path / "checkpoints").exists()
    assert signal.getsignal(signal.SIGINT) is before


def test_other_settings_are_told(
    records: Path, undisturbed: Path, caplog: pytest.LogCaptureFixture
):
    train(on_records(records, **FULL | {"learning_rate": 0.002}), undisturbed)
    assert "train.learning_rate was 0.001 in this run so far and is 0.002" in caplog.text


def test_a_loss_that_is_not_finite_stops_the_run_by_name(records: Path, tmp_path: Path):
    config = on_records(records, steps=4, learning_rate=1e18, checkpoint_every=1)
    with pytest.raises(
        UserError, match=r"(m\d_\w+_loss.*|gradient) is not finite at step \d \(images .*jpg\)"
    ) as stopped:
        train(config, tmp_path)
    assert not (tmp_path / "model.keras").exists()
    step = int(str(stopped.value).split("step ")[1].split(" ")[0])
    assert not (tmp_path / "checkpoints" / f"ckpt-{step}.index").exists()


def test_a_signal_during_an_evaluation_saves_the_step_too(records: Path, tmp_path: Path):
    def validate(network: SSH) -> Validated:
        os.kill(os.getpid(), signal.SIGTERM)
        return Validated({"all": 0.5}, ())

    config = on_records(records, steps=4, checkpoint_every=4)
    config = config.model_copy(
        update={"validation": config.validation.model_copy(update={"every": 1})}
    )
    with pytest.raises(InterruptedRunError, match="after step 1, which is saved"):
        train(config, tmp_path, validate=validate)
    assert Checkpoints(tmp_path / "checkpoints").steps()[-1] == 1


def test_validation_keeps_the_best_network(records: Path, tmp_path: Path):
    found = iter([0.2, 0.5, 0.4])
    pictures = [np.zeros((8, 9, 3), np.uint8)]

    def validate(network: SSH) -> Validated:
        return Validated({"easy": 0.9, "hard": next(found)}, pictures)

    config = on_records(records, steps=5)
    config = config.model_copy(
        update={"validation": config.validation.model_copy(update={"every": 2})}
    )
    train(config, tmp_path, validate=validate)
    rows = read_table(tmp_path / "validation.csv")
    assert [(row["step"], row["easy"], row["hard"]) for row in rows] == [
        (2, 0.9, 0.2),
        (4, 0.9, 0.5),
        (5, 0.9, 0.4),
    ]
    assert json.loads((tmp_path / "best.json").read_text()) == {
        "step": 4,
        "ap": {"easy": 0.9, "hard": 0.5},
    }
    assert (tmp_path / "best.keras").is_file()
