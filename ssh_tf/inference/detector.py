"""The detector: a model from any file, images in, boxes out."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ssh_tf.config import DetectConfig, load, validate
from ssh_tf.data.images import decode
from ssh_tf.errors import UserError
from ssh_tf.inference.graph import Detections, detection_function
from ssh_tf.model.ssh import SSH
from ssh_tf.model.weights import load_network

Tensor = Any

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


class Detector:
    """Finds faces in images.

    Args:
        network: The detector's network.
        config: Scale and thresholds; the official ones by default.

    Attributes:
        network: As given.
        config: As given.
    """

    def __init__(self, network: SSH, config: DetectConfig | None = None) -> None:
        self.network = network
        self.config = config or DetectConfig()
        image = tf.TensorSpec([None, None, 3], tf.uint8)
        # One trace for all sizes: without the signature every new size would compile anew.
        self._detect = tf.function(
            detection_function(network, self.config), input_signature=[image]
        )

    @classmethod
    def load(cls, path: str | Path, **settings: Any) -> "Detector":
        """Loads a detector from a run folder, a `.keras`, `.weights.h5` or `.caffemodel` file.

        Args:
            path: What to load.
            **settings: Fields of `DetectConfig` to change. The others are those of the run, or
                the official ones.

        Raises:
            UserError: If `path` is none of these or can't be read, or for a setting out of range.
        """
        config = DetectConfig()
        if (file := Path(path) / "config.yaml").is_file():
            config = load(file).detect
        changed = {"detect": {**config.model_dump(), **settings}}
        config = validate(changed, origin="Detection").detect
        return cls(load_network(path), config)

    def fingerprint(self) -> str:
        """Returns one line that another network or another setting would change."""
        digest = hashlib.sha256()
        for weights in self.network.get_weights():
            digest.update(np.ascontiguousarray(weights).data)
        settings = {"weights_sha256": digest.hexdigest(), **self.config.model_dump(mode="json")}
        return json.dumps(settings | {"means": self.network.means})

    def detect(self, image: np.ndarray) -> Detections:
        """Finds the faces of one image.

        Args:
            image: `[H, W, 3]` uint8 RGB.

        Returns:
            NumPy arrays, best face first.

        Raises:
            ValueError: For another shape or dtype, or an image without pixels.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise ValueError(
                "`image` must be uint8 [H, W, 3] with H, W > 0. "
                f"Received: {image.dtype} {image.shape}"
            )
        boxes, scores = self._detect(image)
        return Detections(boxes.numpy(), scores.numpy())


def read_image(path: str | Path) -> np.ndarray:
    """Reads a JPEG or PNG as `[H, W, 3]` uint8 RGB.

    Raises:
        UserError: If there is no such file or it is not a whole image.
    """
    try:
        return np.asarray(decode(Path(path).read_bytes()))
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}).") from error
    except tf.errors.OpError as error:
        raise UserError(f"{path} is not a whole JPEG or PNG image.") from error


def find_images(paths: list[str]) -> Iterator[tuple[Path, Path]]:
    """Expands files and folders to images, folders in depth and in sorted order.

    Args:
        paths: Files or folders.

    Yields:
        `(path, name)`: the image, and its path relative to the folder it was found in.

    Raises:
        UserError: If a path does not exist or a folder holds no image.
    """
    for text in paths:
        path = Path(text)
        if path.is_dir():
            found = sorted(
                file
                for file in path.rglob("*")
                if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file()
            )
            if not found:
                raise UserError(f"{path} holds no image ({', '.join(IMAGE_SUFFIXES)}).")
            yield from ((file, file.relative_to(path)) for file in found)
        elif path.is_file():
            yield path, Path(path.name)
        else:
            raise UserError(f"{path} does not exist. Name an image or a folder of images.")
