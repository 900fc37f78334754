"""Tests of the loss layer: assignment as a whole, and what the training model reports."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from ssh_tf.config import M1, M2, M3, LossConfig, ModuleConfig
from ssh_tf.geometry.anchors import anchor_grid, grid_size
from ssh_tf.geometry.targets import IGNORE, NEGATIVE, POSITIVE
from ssh_tf.model.losses import class_loss
from ssh_tf.model.ohem import TERMS, OhemLoss, assign, training_model
from tests.support import oracle
from tests.support.golden import value_and_gradients
from tests.support.small import small_network

LOSS = LossConfig()
MODULES = list(zip((M1, M2, M3), oracle.MODULES, strict=True))
IDS = ["m1", "m2", "m3"]


def numpy(values: object) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(values))


def anchors_of(module: ModuleConfig, height: int, width: int) -> np.ndarray:
    rows, columns = grid_size(height, module.stride), grid_size(width, module.stride)
    return numpy(anchor_grid(rows, columns, stride=module.stride, scales=module.anchor_scales))


def random_faces(rng: np.random.Generator, count: int, height: int, width: int) -> np.ndarray:
    """Official corners of 2 to 300 px, some beyond the border, one near M3's first anchor."""
    sides = np.exp(rng.uniform(np.log(2), np.log(300), (count, 1))) * rng.uniform(0.8, 1.2, (1, 2))
    corners = rng.uniform(-20, [width, height], (count, 2))
    boxes = np.concatenate([corners, corners + sides - 1], axis=-1)
    boxes[0] = [-110, -115, 140, 133]
    return boxes.astype(np.float32)


def assigned(
    module: ModuleConfig, size: tuple[int, int], faces: np.ndarray, probability: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """One image's labels and targets on a canvas of its own size."""
    labels, targets = assign(
        ops.convert_to_tensor(probability[None].astype(np.float32)),
        ops.convert_to_tensor(anchors_of(module, *size)),
        ops.convert_to_tensor(np.int32([size])),
        ops.convert_to_tensor(np.float32(faces).reshape(1, -1, 4)),
        module=module,
        loss=LOSS,
    )
    return numpy(labels)[0], numpy(targets)[0]


def assert_agrees(
    module: ModuleConfig, twin: oracle.Module, size: tuple[int, int], faces: np.ndarray, seed: int
):
    count = len(anchors_of(module, *size))
    probability = np.random.default_rng(seed).permutation(count) / count
    expected = oracle.assign(*size, twin, faces.tolist(), probability)
    labels, targets = assigned(module, size, faces, probability)
    np.testing.assert_array_equal(labels, expected.labels)
    positive = labels == POSITIVE
    np.testing.assert_allclose(targets[positive], expected.targets[positive], atol=1e-5)


@pytest.mark.parametrize(("module", "twin"), MODULES, ids=IDS)
@pytest.mark.parametrize("seed", range(4))
def test_assignment_agrees_with_the_oracle(module: ModuleConfig, twin: oracle.Module, seed: int):
    rng = np.random.default_rng(seed)
    size = tuple(rng.integers(40, 260, 2).tolist())
    faces = random_faces(rng, int(rng.integers(1, 45)), *size)
    assert_agrees(module, twin, size, faces, seed)


@pytest.mark.parametrize(("module", "twin"), MODULES, ids=IDS)
@pytest.mark.parametrize(
    ("size", "faces"),
    [
        pytest.param((64, 96), [], id="no-face"),
        pytest.param((64, 96), [[8, 8, 8, 8]], id="one-pixel"),
        pytest.param((64, 96), [[500, 500, 600, 600], [-99, -99, -9, -9]], id="outside"),
        pytest.param((64, 96), [[-200, -200, 300, 300]], id="larger-than-the-image"),
        pytest.param((3, 5), [[0, 0, 4, 2]], id="smaller-than-a-stride"),
        pytest.param((1, 1), [[0, 0, 0, 0]], id="one-pixel-image"),
        pytest.param((16, 400), [[100, 0, 115, 15]], id="long"),
    ],
)
def test_degenerate_inputs_agree_with_the_oracle(
    module: ModuleConfig, twin: oracle.Module, size: tuple[int, int], faces: list
):
    assert_agrees(module, twin, size, np.array(faces, np.float32).reshape(-1, 4), seed=0)


def test_golden_assignment_by_hand():
    # One 16-px face exactly on the anchor of cell (1, 2) of M1: IoU 1, target 0. On its neighbors
    # 8 px away the IoU is 8 * 16 / (2 * 256 - 128) = 1/3, ignored; the 32-px anchor of its cell has
    # 1/4, negative.
    labels, targets = assigned(M1, (64, 96), np.float32([[16, 8, 31, 23]]), np.zeros(192))
    cells = labels.reshape(8, 12, 2)
    assert cells[1, 2].tolist() == [POSITIVE, NEGATIVE]
    assert cells[1, 1, 0] == cells[1, 3, 0] == cells[0, 2, 0] == cells[2, 2, 0] == IGNORE
    assert cells[0, 1, 0] == NEGATIVE  # 8 * 8 / (512 - 64) = 1/7
    assert np.sum(labels == POSITIVE) == 1
    assert targets.reshape(8, 12, 2, 4)[1, 2, 0].tolist() == [0, 0, 0, 0]


def test_paper_rules_can_be_chosen():
    # 8 of 16 px covered: IoU exactly 1/2.
    faces = np.float32([[[16, 8, 31, 15]]])
    anchors = ops.convert_to_tensor(anchors_of(M1, 64, 96))
    sizes = ops.convert_to_tensor(np.int32([[64, 96]]))
    counts = []
    for loss in (LOSS, LossConfig(positive_inclusive=False)):
        labels, _ = assign(ops.zeros((1, 192)), anchors, sizes, faces, module=M1, loss=loss)
        counts.append(int(np.sum(numpy(labels) == POSITIVE)))
    assert counts == [2, 0]  # in cell (1, 2) and in the one above


def test_padding_row_overlaps_nothing_not_even_anchors_beyond_the_border():
    # As a face of one pixel at (-1, -1), padding would have an IoU of 1 / 256^2 with M3's anchors.
    labels, _ = assign(
        ops.zeros((1, 12)),
        ops.convert_to_tensor(anchors_of(M3, 64, 96)),
        ops.convert_to_tensor(np.int32([[64, 96]])),
        ops.convert_to_tensor(np.float32([[[-1, -1, -1, -1]]])),
        module=M3,
        loss=LossConfig(negative_iou=1e-6),
    )
    assert numpy(labels).tolist() == [[NEGATIVE] * 12]


# The layer


def outputs(rng: np.random.Generator, module: ModuleConfig, *shape: int) -> tuple:
    """Random logits `[B, N, 2]` and deltas `[B, N, 4]` of a `[B, H, W]` canvas."""
    count = len(anchors_of(module, *shape[1:]))
    logits = rng.normal(0, 2, (shape[0], count, 2))
    return logits.astype(np.float32), rng.normal(0, 0.5, (shape[0], count, 4)).astype(np.float32)


def call(
    module: ModuleConfig, logits: object, deltas: object, sizes: object, faces: object, canvas
):
    """Returns the layer and its terms."""
    layer = OhemLoss(module, LOSS)
    images = np.zeros((len(sizes), *canvas, 3), np.float32)
    terms = layer(logits, deltas, images=images, sizes=np.int32(sizes), faces=np.float32(faces))
    return layer, {term: numpy(values) for term, values in terms.items()}


@pytest.mark.parametrize(("module", "twin"), MODULES, ids=IDS)
def test_terms_agree_with_the_oracle(
    module: ModuleConfig, twin: oracle.Module, rng: np.random.Generator
):
    size = (97, 131)
    logits, deltas = outputs(rng, module, 1, *size)
    faces = random_faces(rng, 25, *size)
    layer, terms = call(module, logits, deltas, [size], [faces], size)
    probability = 1 / (1 + np.exp(logits[0, :, 0] - logits[0, :, 1].astype(np.float64)))
    expected = oracle.assign(*size, twin, faces.tolist(), probability)
    assert terms["positives"] == np.sum(expected.labels == 1)
    assert terms["negatives"] == np.sum(expected.labels == 0)
    classes = oracle.class_loss(logits[0], expected.labels)
    boxes = oracle.box_loss(deltas[0], expected)
    np.testing.assert_allclose(terms["cls_loss"], classes, rtol=1e-5)
    np.testing.assert_allclose(terms["box_loss"], boxes, rtol=1e-5)
    np.testing.assert_allclose(numpy(layer.losses[0]), classes + boxes, rtol=1e-5)


@pytest.mark.parametrize(("module", "twin"), MODULES, ids=IDS)
def test_terms_do_not_depend_on_the_canvas(
    module: ModuleConfig, twin: oracle.Module, rng: np.random.Generator
):
    """B = 1 at its own size, and the same images together on a larger canvas."""
    del twin
    sizes, canvas = [(97, 131), (50, 60), (64, 140)], (120, 150)
    rows, columns = (grid_size(side, module.stride) for side in canvas)
    joined_logits, joined_deltas = outputs(rng, module, 3, *canvas)
    faces, alone = np.full((3, 40, 4), -1, np.float32), []
    for image, size in enumerate(sizes):
        own = random_faces(rng, 10 * (image + 1), *size)
        faces[image, : len(own)] = own
        own_rows, own_columns = (grid_size(side, module.stride) for side in size)
        cut = [
            values[image : image + 1]
            .reshape(1, rows, columns, 2, -1)[:, :own_rows, :own_columns]
            .reshape(1, 2 * own_rows * own_columns, -1)
            for values in (joined_logits, joined_deltas)
        ]
        alone.append(call(module, *cut, [size], [own], size)[1])
    _, joined = call(module, joined_logits, joined_deltas, sizes, faces, canvas)
    assert joined["positives"].any()
    for term in TERMS:
        expected = np.concatenate([terms[term] for terms in alone])
        np.testing.assert_allclose(joined[term], expected, rtol=1e-5)


def test_loss_is_the_mean_over_images(rng: np.random.Generator):
    sizes = [(64, 96), (64, 80)]
    faces = [[[16, 8, 31, 23], [40, 20, 71, 51]], [[4, 4, 30, 30], [-1, -1, -1, -1]]]
    layer, terms = call(M1, *outputs(rng, M1, 2, 64, 96), sizes, faces, (64, 96))
    total = np.mean(terms["cls_loss"] + terms["box_loss"])
    np.testing.assert_allclose(numpy(layer.losses[0]), total, rtol=1e-6)


def test_all_terms_are_finite_whatever_the_faces(rng: np.random.Generator):
    crowd = random_faces(rng, 2000, 160, 200)
    for module, _ in MODULES:
        for faces in (np.zeros((0, 4)), [[7, 7, 7, 7]], crowd, crowd + 5000):
            rows = np.float32(faces).reshape(1, -1, 4)
            logits, deltas = outputs(rng, module, 1, 160, 200)
            assert_finite_with_gradients(module, logits, deltas, rows, (160, 200))


def test_all_terms_are_finite_whatever_the_image(rng: np.random.Generator):
    faces = np.float32([[[0, 0, 5, 5], [10, 10, 200, 60]]])
    for module, _ in MODULES:
        for size in [(1, 1), (5, 7), (64, 4000), (4000, 64)]:
            assert_finite_with_gradients(module, *outputs(rng, module, 1, *size), faces, size)


def assert_finite_with_gradients(
    module: ModuleConfig, logits: np.ndarray, deltas: np.ndarray, faces: np.ndarray, size: tuple
):
    layer = OhemLoss(module, LOSS)
    images = ops.zeros((1, *size, 3))
    sizes = ops.convert_to_tensor(np.int32([size]))

    def loss(logits: object, deltas: object) -> tuple[object, object]:
        terms = layer(logits, deltas, images=images, sizes=sizes, faces=faces)
        return ops.sum(terms["cls_loss"] + terms["box_loss"]), terms

    terms, gradients = value_and_gradients(loss, logits, deltas)
    assert all(np.isfinite(numpy(values)).all() for values in terms.values())
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    assert gradients[0].any()


def test_mining_passes_no_gradient(rng: np.random.Generator):
    # Were the labels' choice differentiable, the gradient would differ from that of fixed labels.
    logits, deltas = outputs(rng, M1, 1, 64, 96)
    faces = np.float32([[[16, 8, 31, 23]]])
    layer = OhemLoss(M1, LOSS)
    inputs = {"images": np.zeros((1, 64, 96, 3), np.float32), "sizes": np.int32([[64, 96]])}
    probability = 1 / (1 + np.exp(logits[0, :, 0] - logits[0, :, 1]))
    labels, _ = assigned(M1, (64, 96), faces[0], probability)

    def mined(logits: object, deltas: object) -> tuple[object, object]:
        terms = layer(logits, deltas, faces=faces, **inputs)
        return terms["cls_loss"][0] + terms["box_loss"][0], terms

    def fixed(logits: object, deltas: object) -> tuple[object, object]:
        loss = class_loss(logits, ops.convert_to_tensor(labels[None]))[0]
        return loss + ops.sum(deltas), loss

    (received, _), (expected, _) = (
        value_and_gradients(loss, logits, deltas)[1] for loss in (mined, fixed)
    )
    np.testing.assert_allclose(received, expected, rtol=1e-6)


def test_layer_comes_back_from_its_config():
    module = ModuleConfig(
        name="x", stride=16, channels=6, anchor_scales=(3, 5, 7.5), allowed_border=9
    )
    loss = LossConfig(
        positive_iou=0.6,
        positive_inclusive=False,
        negative_iou=0.2,
        samples=12,
        positive_fraction=0.5,
        sigma=2.0,
        box_normalizer="positives",
    )
    layer = OhemLoss(module, loss, name="other")
    config = keras.saving.serialize_keras_object(layer)
    revived = keras.saving.deserialize_keras_object(config)
    assert (revived.module, revived.loss, revived.name) == (module, loss, "other")


# The training model


def test_training_model_reports_every_term_of_every_module():
    model = training_model(small_network(), LOSS)
    batch = {
        "images": np.zeros((2, 64, 96, 3), np.float32),
        "sizes": np.int32([[64, 96], [40, 80]]),
        "faces": np.float32([[[16, 8, 31, 23], [3, 3, 60, 60]], [[8, 8, 30, 30], [-1] * 4]]),
    }
    terms = model(batch)
    assert sorted(terms) == sorted(f"{m}_{term}" for m in IDS for term in TERMS)
    assert all(values.shape == (2,) for values in terms.values())
    total = sum(np.mean(terms[f"{m}_{t}"]) for m in IDS for t in ("cls_loss", "box_loss"))
    assert len(model.losses) == 3
    np.testing.assert_allclose(sum(float(loss) for loss in model.losses), total, rtol=1e-5)


def test_training_model_shares_the_network_s_weights():
    network = small_network()
    model = training_model(network, LOSS)
    assert [id(v) for v in model.trainable_variables] == [
        id(v) for v in network.trainable_variables
    ]


def test_gradients_do_not_depend_on_the_canvas(rng: np.random.Generator):
    network = small_network()
    model = training_model(network, LOSS)
    weights = [network.get_layer(n).kernel for n in ("block1_conv1", "block5_conv3", "m1_cls")]
    image = rng.uniform(0, 255, (60, 90, 3)).astype(np.float32)
    faces = np.float32([[[16, 8, 31, 23], [3, 3, 60, 58]]])

    def gradients(height: int, width: int) -> list[np.ndarray]:
        canvas = np.zeros((1, height, width, 3), np.float32)
        canvas[0, :60, :90] = image
        batch = {"images": canvas, "sizes": np.int32([[60, 90]]), "faces": faces}
        with tf.GradientTape() as tape:
            model(batch)
            loss = tf.add_n(model.losses)
        return [g.numpy() for g in tape.gradient(loss, [w.value for w in weights])]

    for own, other in zip(gradients(60, 90), gradients(100, 96), strict=True):
        assert np.abs(own).max() > 0
        np.testing.assert_allclose(other, own, atol=1e-4 * np.abs(own).max())
