"""The training loop: replicas, accumulation, resuming, and what stops it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ssh_tf.config import Config, validate
from ssh_tf.data.builder import build_records
from ssh_tf.data.synthetic import generate
from ssh_tf.errors import UserError
from ssh_tf.model.ssh import SSH
from ssh_tf.training.state import State, build_state, freeze
from ssh_tf.training.steps import make_steps
from ssh_tf.training.strategy import micro_batches
from ssh_tf.training.trainer import train
from tests.small import mirrored

SIDE = 96
# One face in the first image, three in the second: replicas have unequal numbers of positives.
FACES = [[[8, 8, 30, 34]], [[2, 2, 20, 22], [70, 4, 92, 30], [24, 24, 84, 90]]]


def settings(**train_settings: object) -> Config:
    """A recipe of few steps without decay, on images of 96 px."""
    return validate(
        {
            "model": {"weights": "random"},
            "data": {"shorter_px": SIDE, "longer_px": SIDE + 16},
            "train": {"learning_rate": 0.001, "checkpoint_every": 2, "log_every": 1}
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


@pytest.fixture(scope="module")
def joined() -> tuple[dict[str, float], list[np.ndarray]]:
    """One device, both images in one batch: terms and velocities after an update."""
    config = settings(images_per_update=2, images_per_replica=2)
    terms, state = updated(config, ["CPU:0"])
    return terms, velocities_of(state)


@pytest.mark.parametrize(
    "devices",
    [
        pytest.param(["CPU:0", "CPU:1"], id="two-replicas"),
        pytest.param(["CPU:0"], id="two-micro-batches"),
    ],
)
def test_an_update_is_the_same_however_its_images_are_spread(joined, devices):
    terms, velocities = joined
    config = settings(images_per_update=2, images_per_replica=1)
    their_terms, state = updated(config, devices)
    assert terms["m1_positives"] > 0
    assert terms["m2_positives"] > 0
    assert their_terms == pytest.approx(terms, rel=1e-5, abs=1e-7)
    # After the first update a velocity is -lr x gradient: comparing them compares gradients.
    for ours, theirs in zip(velocities, velocities_of(state), strict=True):
        np.testing.assert_allclose(theirs, ours, atol=1e-5 * np.abs(ours).max())
    for kept in state.accumulators:
        assert not np.any(kept.numpy())


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
    build_records(folder / "wider", "train", folder / "records", shards=2)
    return folder / "records"


def on_records(records: Path, **train_settings: object) -> Config:
    config = settings(images_per_update=1, **train_settings)
    return config.model_copy(
        update={"data": config.data.model_copy(update={"records": str(records)})}
    )


@pytest.fixture(scope="module")
def undisturbed(records: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("undisturbed")
    train(on_records(records, steps=4), workdir)
    return workdir


def weights_of(workdir: Path) -> Iterator[np.ndarray]:
    checkpoint = tf.train.load_checkpoint(tf.train.latest_checkpoint(str(workdir / "checkpoints")))
    for name in sorted(checkpoint.get_variable_to_shape_map()):
        if "VARIABLE_VALUE" in name:
            yield checkpoint.get_tensor(name)


def test_a_resumed_run_ends_with_the_same_bits(records: Path, undisturbed: Path, tmp_path: Path):
    class KilledError(Exception):
        pass

    def kill(step: int, logs: object) -> None:
        if step == 3:  # one step after the checkpoint of step 2
            raise KilledError

    config = on_records(records, steps=4)
    with pytest.raises(KilledError):
        train(config, tmp_path, on_step=kill)
    train(config, tmp_path)
    pairs = list(zip(weights_of(tmp_path), weights_of(undisturbed), strict=True))
    assert len(pairs) > 75 + 66  # all weights, and the velocities of those that are not frozen
    for resumed, straight in pairs:
        np.testing.assert_array_equal(resumed, straight)


def test_a_run_leaves_model_settings_checkpoint_and_logs(undisturbed: Path):
    assert (undisturbed / "model.keras").is_file()
    assert (undisturbed / "config.yaml").is_file()
    assert list((undisturbed / "logs").glob("events.*"))
    assert tf.train.latest_checkpoint(str(undisturbed / "checkpoints")).endswith("ckpt-4")


def test_another_architecture_in_the_same_folder_is_refused(records: Path, undisturbed: Path):
    config = on_records(records, steps=4)
    other = config.model_copy(update={"model": config.model.model_copy(update={"context": False})})
    with pytest.raises(UserError, match="another architecture"):
        train(other, undisturbed)


def test_a_loss_that_is_not_finite_stops_the_run_by_name(records: Path, tmp_path: Path):
    config = on_records(records, steps=4, learning_rate=1e18)
    with pytest.raises(UserError, match=r"m\d_\w+_loss.* is not finite at step \d"):
        train(config, tmp_path)
    assert not (tmp_path / "model.keras").exists()
