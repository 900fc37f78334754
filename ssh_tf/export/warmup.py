"""Warm-up requests: what TensorFlow Serving runs when it loads a model, before the first client."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from ssh_tf import signature
from ssh_tf.imaging.decoder import decode


def write_warmup(folder: Path, image: np.ndarray) -> bool:
    """Writes one request for each signature into a SavedModel.

    Args:
        folder: The SavedModel.
        image: `[H, W, 3]` uint8 RGB to send.

    Returns:
        False if nothing was written, as tensorflow-serving-api is not installed.
    """
    try:
        from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog
    except ImportError:
        return False
    path = folder / signature.WARMUP
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for name, inputs in requests(image).items():
            log = PredictionLog()
            request = log.predict_log.request
            request.model_spec.name = "ssh"
            request.model_spec.signature_name = name
            for key, value in inputs.items():
                request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
            writer.write(log.SerializeToString())
    return True


def requests(image: np.ndarray) -> dict[str, Mapping[str, tf.Tensor]]:
    """Returns signature to the inputs of a request with one image, the same for all."""
    encoded = tf.io.encode_jpeg(image)
    pixels = decode(encoded)[tf.newaxis]
    return {
        signature.SERVING_DEFAULT: {signature.IMAGE_BYTES: encoded[tf.newaxis]},
        signature.IMAGE_TENSOR: {signature.IMAGE_TENSOR: pixels},
        signature.RAW: {signature.IMAGES: tf.cast(pixels, tf.float32)},
    }
