"""Each setting in which paper and official code differ changes what it says, and nothing else."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from ssh_tf.config import Config, LossConfig, TrainConfig, load
from ssh_tf.data.images import pyramid_scales, scaled_size
from ssh_tf.geometry.proposals import propose
from ssh_tf.geometry.targets import POSITIVE, label_anchors
from ssh_tf.model.losses import box_loss
from ssh_tf.model.ssh import SSH
from ssh_tf.training.optimizer import official_multipliers
from ssh_tf.training.trainer import freeze, micro_batches

CONFIGS = Path(__file__).parents[1] / "configs"
PAPER = load(CONFIGS / "wider_vgg16_paper.yaml")
OFFICIAL = load(CONFIGS / "wider_vgg16.yaml")


def test_the_official_recipe_is_the_default_of_every_field():
    records = {"data": Config().data.model_copy(update={"records": OFFICIAL.data.records})}
    expected = Config().model_copy(update=records)
    assert expected == OFFICIAL


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
    rule = official_multipliers(config.train, ("m1", "m2", "m3"))
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
    rule = official_multipliers(TrainConfig(bias_lr_multiplier=1.0), ("m1",))
    assert rule("m1_cls/bias") == (1.0, 0.0)
