"""Each setting in which paper and official code differ changes what it says, and nothing else."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from ssh_tf.config import Config, LossConfig, TrainConfig, load
from ssh_tf.geometry.anchors import anchor_grid
from ssh_tf.geometry.proposals import propose
from ssh_tf.geometry.targets import NEGATIVE, POSITIVE, label_anchors, random_ranks
from ssh_tf.imaging.scale import pyramid_scales, scaled_size
from ssh_tf.model.losses import box_loss
from ssh_tf.model.ohem import assign, training_model
from ssh_tf.model.ssh import SSH
from ssh_tf.training.optimizer import make_optimizer
from ssh_tf.training.state import freeze
from ssh_tf.training.strategy import micro_batches

CONFIGS = Path(__file__).parents[1] / "configs"
PAPER = load(CONFIGS / "wider_vgg16_paper.yaml")
OFFICIAL = load(CONFIGS / "wider_vgg16.yaml")


def test_the_paper_recipe_differs_in_seven_fields():
    differing = {
        (group, field)
        for group in ("model", "loss", "data", "train", "detect")
        for field in getattr(type(getattr(PAPER, group)), "model_fields")  # noqa: B009
        if getattr(getattr(PAPER, group), field) != getattr(getattr(OFFICIAL, group), field)
    }
    assert differing == {
        ("loss", "positive_inclusive"),
        ("loss", "box_normalizer"),
        ("train", "frozen"),
        ("train", "images_per_update"),
        ("train", "decay_module_biases"),
        ("detect", "exact_decode"),
        ("detect", "pyramid_base_px"),
    }


def labels(loss: LossConfig, iou: float) -> int:
    values = label_anchors(
        ops.convert_to_tensor([[iou]]),
        ops.convert_to_tensor([[True]]),
        positive_iou=loss.positive_iou,
        positive_inclusive=loss.positive_inclusive,
        negative_iou=loss.negative_iou,
    )
    return int(values[0, 0])


def test_only_the_paper_ignores_an_iou_of_exactly_one_half():
    assert labels(OFFICIAL.loss, 0.5) == POSITIVE
    assert labels(PAPER.loss, 0.5) != POSITIVE
    assert [labels(PAPER.loss, iou) for iou in (0.51, 0.3, 0.29)] == [
        labels(OFFICIAL.loss, iou) for iou in (0.51, 0.3, 0.29)
    ]


@pytest.mark.parametrize(
    ("loss", "divisor"),
    [
        pytest.param(OFFICIAL.loss, 4, id="official-all-mined-anchors"),
        pytest.param(PAPER.loss, 1, id="paper-positive-anchors"),
    ],
)
def test_the_box_loss_is_divided_by(loss: LossConfig, divisor: int):
    mined = ops.convert_to_tensor([[1, 0, 0, 0, -1]])  # one positive, three negatives, one ignored
    deltas = ops.ones((1, 5, 4))
    value = box_loss(
        deltas, ops.zeros((1, 5, 4)), mined, sigma=loss.sigma, normalizer=loss.box_normalizer
    )
    # Four coordinates with an error of 1: 1 - 0.5 / 9 each.
    np.testing.assert_allclose(value, [4 * (1 - 0.5 / 9) / divisor], rtol=1e-6)


@pytest.mark.parametrize(
    ("config", "decay"),
    [pytest.param(OFFICIAL, 0.0, id="official"), pytest.param(PAPER, 1.0, id="paper")],
)
def test_module_biases_are_decayed_by(config: Config, decay: float):
    rule = make_optimizer(config.train, ("m1", "m2", "m3")).multipliers
    assert rule("m2_cls/bias") == (2.0, decay)
    assert rule("m2_cls/kernel") == rule("block4_conv1/kernel") == (1.0, 1.0)
    assert rule("block4_conv1/bias") == rule("fuse_conv/bias") == (2.0, 1.0)


@pytest.fixture(scope="module")
def network() -> SSH:
    return SSH(Config().model)


@pytest.mark.parametrize(
    ("config", "first_trained"),
    [
        pytest.param(OFFICIAL, "block3_conv1", id="official"),
        pytest.param(PAPER, "block3_conv2", id="paper"),
    ],
)
def test_the_first_trained_convolution_is(config: Config, first_trained: str, network: SSH):
    network.trainable = True
    freeze(network, config.train.frozen)
    convolutions = [layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D)]
    assert next(layer.name for layer in convolutions if layer.trainable) == first_trained


def test_images_of_an_update_become_micro_batches():
    assert micro_batches(OFFICIAL.train, replicas=4) == 2  # Caffe's iter_size
    assert micro_batches(PAPER.train, replicas=4) == 1
    assert micro_batches(OFFICIAL.train, replicas=1) == 8


@pytest.mark.parametrize(
    ("config", "last"),
    [
        # The anchor [40, 40, 55, 55] itself, which the official code decodes 1 px too far.
        pytest.param(OFFICIAL, 56.0, id="official"),
        pytest.param(PAPER, 55.0, id="paper"),
    ],
)
def test_deltas_of_zero_decode_to_the_corner(config: Config, last: float):
    boxes, _ = propose(
        ops.ones((1,)),
        ops.zeros((1, 4)),
        ops.convert_to_tensor([[40.0, 40.0, 56.0, 56.0]]),
        size=(100, 100),
        top_k=1,
        exact_decode=config.detect.exact_decode,
    )
    np.testing.assert_array_equal(boxes, [[40, 40, last, last]])


@pytest.mark.parametrize(
    ("config", "shorter"),
    # 576 x 1024: the official base is capped at 1200 px, so its short sides are below the nominal.
    [
        pytest.param(OFFICIAL, [422, 675, 1012, 1350], id="official"),
        pytest.param(PAPER, [500, 800, 1200, 1600], id="paper"),
    ],
)
def test_shorter_sides_of_the_pyramid(config: Config, shorter: list[int]):
    size = tf.constant([576, 1024])
    scales = pyramid_scales(
        size, levels_px=(500, 800, 1200, 1600), base_px=config.detect.pyramid_base_px
    )
    assert [int(scaled_size(size, scale)[0]) for scale in scales] == shorter


def test_bias_multiplier_follows_its_field():
    rule = make_optimizer(TrainConfig(bias_lr_multiplier=1.0), ("m1",)).multipliers
    assert rule("m1_cls/bias") == (1.0, 0.0)


SIZES = {(group, side) for group in ("data", "detect") for side in ("shorter_px", "longer_px")}

# What each ablation of the paper changes, and nothing else.
ABLATIONS = {
    "finer_anchors": {("model", "modules")},
    "no_context": {("model", "context")},
    "no_fusion": {("model", "fusion")},
    "no_ohem": {("loss", "mining")},
    "only_m2": {("model", "modules")},
    "size_600x1000": SIZES,
    "size_800x1200": SIZES,
    "size_1400x1800": SIZES,
}


def differing_fields(config: Config) -> set[tuple[str, str]]:
    ours, official = config.model_dump(), OFFICIAL.model_dump()
    return {
        (group, field)
        for group, fields in ours.items()
        for field in fields
        if ours[group][field] != official[group][field]
    }


def test_every_ablation_is_listed_and_changes_what_it_says():
    files = {path.stem: load(path) for path in (CONFIGS / "ablations").glob("*.yaml")}
    assert {name: differing_fields(config) for name, config in files.items()} == ABLATIONS


@pytest.mark.parametrize("name", [name for name in ABLATIONS if not name.startswith("size_")])
def test_each_ablation_builds_and_gives_losses(name: str):
    config = load(CONFIGS / "ablations" / f"{name}.yaml")
    network = SSH(config.model, (0.0, 0.0, 0.0))
    training = training_model(network, config.loss)
    losses = training(
        {
            "images": np.full((1, 128, 160, 3), 100.0, np.float32),
            "sizes": np.array([[128, 160]], np.int32),
            "faces": np.array([[[20.0, 30.0, 80.0, 90.0]]], np.float32),
        }
    )
    assert len(losses) == 4 * len(config.model.modules)
    assert all(np.isfinite(float(loss)) for loss in training.losses)
    assert float(sum(training.losses)) > 0


def test_without_hard_mining_samples_have_no_relation_to_hardness():
    probability = np.random.default_rng(0).uniform(size=(2, 4000)).astype(np.float32)
    ranks = np.asarray(random_ranks(ops.convert_to_tensor(probability)))
    assert ((ranks >= 0) & (ranks < 1)).all()
    for row, ranked in zip(probability, ranks, strict=True):
        assert abs(np.corrcoef(row, ranked)[0, 1]) < 0.05
        assert np.histogram(ranked, bins=4, range=(0, 1))[0].min() > 800  # of 1,000 expected
    # Equal probabilities, as of an untrained network, are told apart by their places.
    flat = np.asarray(random_ranks(ops.full((1, 4000), 0.5)))
    assert len(np.unique(flat)) > 3000
    assert not np.array_equal(ranks, np.asarray(random_ranks(probability * 0.999)))


def test_mining_decides_which_negatives_are_sampled():
    probability = np.linspace(0, 1, 60 * 80 // 16 * 2, dtype=np.float32)[np.newaxis]
    module = OFFICIAL.model.modules[1]
    anchors = anchor_grid(15, 20, stride=16, scales=module.anchor_scales)
    sizes, faces = np.array([[240, 320]], np.int32), np.full((1, 1, 4), -1, np.float32)
    kept = {}
    for mining in ("hard", "random"):
        loss = LossConfig(mining=mining, samples=20)
        labels, _ = assign(probability, anchors, sizes, faces, module=module, loss=loss)
        kept[mining] = probability[np.asarray(labels) == NEGATIVE]
        assert len(kept[mining]) == 20
    assert kept["hard"].mean() > kept["random"].mean() + 0.1
