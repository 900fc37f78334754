"""Tests of the three layers Keras lacks."""

import keras
import numpy as np
import pytest
from keras import ops

from ssh_tf.model.backbones.vgg16 import KERAS_MEANS
from ssh_tf.model.caffe.convert import CAFFE_MEANS
from ssh_tf.model.layers import BilinearUpsample, MaskCanvas, Preprocess
from tests.support import oracle


def numpy(values: object) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(values))


# Preprocess


def test_preprocess_by_hand():
    red_green_blue = np.float32([[[[10, 20, 30]]]])
    # Blue first, each minus its own mean.
    assert numpy(Preprocess((1, 2, 3))(red_green_blue)).tolist() == [[[[29, 18, 7]]]]


def test_means_are_those_of_the_weights_origins():
    assert CAFFE_MEANS == (102.9801, 115.9465, 122.7717)
    image = np.random.default_rng(0).uniform(0, 255, (1, 2, 3, 3)).astype(np.float32)
    expected = keras.applications.vgg16.preprocess_input(image.copy())
    np.testing.assert_allclose(numpy(Preprocess(KERAS_MEANS)(image)), expected, atol=1e-4)


# Masking


def test_mask_keeps_the_cells_that_begin_inside_the_image():
    features = np.ones((2, 3, 4, 2), np.float32)
    # Stride 8: 17 px reach into the third row, 16 px fill two columns exactly.
    masked = numpy(MaskCanvas(8)(features, np.int32([[17, 16], [8, 25]])))
    assert masked[0, ..., 0].tolist() == [[1, 1, 0, 0]] * 3
    assert masked[1, ..., 0].tolist() == [[1, 1, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_array_equal(masked[..., 0], masked[..., 1])


def test_mask_of_the_whole_canvas_changes_nothing(rng: np.random.Generator):
    features = rng.normal(size=(1, 7, 5, 3)).astype(np.float32)
    masked = MaskCanvas(16)(features, np.int32([[97, 65]]))  # 7 x 5 cells, rounded up
    np.testing.assert_array_equal(numpy(masked), features)


# Upsampling


@pytest.mark.parametrize("height", [1, 2, 5, 8])
@pytest.mark.parametrize("width", [1, 3, 7])
@pytest.mark.parametrize("cropped", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_upsampling_is_caffe_s_deconvolution_cropped(
    height: int, width: int, cropped: tuple[int, int], rng: np.random.Generator
):
    features = rng.normal(size=(2, height, width, 3)).astype(np.float32)
    rows, columns = 2 * height - cropped[0], 2 * width - cropped[1]
    like = np.zeros((2, rows, columns, 5), np.float32)
    found = numpy(BilinearUpsample()(features, like))
    assert found.shape == (2, rows, columns, 3)
    for image, upsampled in zip(features, found, strict=True):
        expected = oracle.deconvolve(image)[:rows, :columns]
        np.testing.assert_allclose(upsampled, expected, rtol=1e-6, atol=1e-6)


def test_upsampling_reads_zeros_beyond_the_border():
    # One dimension: rows of equal values, divided by the 1-D kernel's sum over rows (0.75 + 0.25).
    row = np.float32([1, 2, 5, 3, 7])
    features = np.tile(row, (4, 1))[np.newaxis, ..., np.newaxis]
    found = numpy(BilinearUpsample()(features, np.zeros((1, 8, 10, 1), np.float32)))[0, 3, :, 0]
    expected = [0.75, 1.25, 1.75, 2.75, 4.25, 4.5, 3.5, 4, 6, 5.25]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_upsampling_works_on_maps_of_unknown_size():
    coarse, fine = keras.Input((None, None, 2)), keras.Input((None, None, 4))
    model = keras.Model([coarse, fine], BilinearUpsample()(coarse, fine))
    assert model.output_shape == (None, None, None, 2)
    features = np.random.default_rng(0).normal(size=(1, 3, 2, 2)).astype(np.float32)
    found = model([features, np.zeros((1, 5, 4, 4), np.float32)])
    np.testing.assert_allclose(numpy(found)[0], oracle.deconvolve(features[0])[:5], atol=1e-6)


def test_upsampling_has_2048_fixed_weights_for_128_channels():
    layer = BilinearUpsample()
    layer(np.zeros((1, 2, 2, 128), np.float32), np.zeros((1, 4, 4, 128), np.float32))
    assert layer.count_params() == 2_048
    assert layer.trainable_weights == []


# Configurations


@pytest.mark.parametrize(
    ("layer", "attributes"),
    [
        (Preprocess((1.5, 2.5, 3.5), name="a"), {"means": (1.5, 2.5, 3.5), "name": "a"}),
        (MaskCanvas(4, name="b"), {"stride": 4, "name": "b"}),
        (BilinearUpsample(name="c", trainable=False), {"trainable": False, "name": "c"}),
    ],
    ids=["preprocess", "mask", "upsample"],
)
def test_layer_comes_back_from_its_config(layer: keras.layers.Layer, attributes: dict):
    config = keras.saving.serialize_keras_object(layer)
    revived = keras.saving.deserialize_keras_object(config)
    assert type(revived) is type(layer)
    assert {name: getattr(revived, name) for name in attributes} == attributes
