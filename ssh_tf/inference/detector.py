"""The detector: a model from any file, images in, boxes out."""

import contextlib
import hashlib
import json
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ssh_tf import signature
from ssh_tf.config import MAX_PIXELS, DetectConfig, load, validate
from ssh_tf.data.images import PNG_SIGNATURE, decode, header_size
from ssh_tf.errors import UserError
from ssh_tf.inference.graph import Detections, detection_function
from ssh_tf.model.ssh import SSH
from ssh_tf.model.weights import load_network

Tensor = Any

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")

_JPEG_SIGNATURE = b"\xff\xd8\xff"
_MAX_BYTES = 8 * MAX_PIXELS  # a PNG of four channels of 16 bits, not compressed at all

_LOG = logging.getLogger(__name__)


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

    @staticmethod
    def load(path: str | Path, **settings: Any) -> "Detector | ExportedDetector":
        """Loads a detector and logs what kind of file it was found in.

        Args:
            path: A run folder of `ssh-tf train`, a `.keras`, `.weights.h5` or `.caffemodel` file,
                or a SavedModel of `ssh-tf export`: a version's folder, or the folder of versions,
                of which the newest is taken.
            **settings: Fields of `DetectConfig` to change. The others are those of the run, or
                the official ones. A SavedModel has its own, for good.

        Raises:
            UserError: If `path` is none of these or can't be read, for a setting out of range, or
                for any setting together with a SavedModel.
        """
        version = find_saved_model(Path(path))
        if version is not None:
            if settings:
                raise UserError(
                    f"{version} is a SavedModel, whose {', '.join(settings)} was fixed when it was "
                    "exported. Leave the flags away, or name the network it was exported from."
                )
            _LOG.info("Model: SavedModel %s", version)
            return ExportedDetector(version)
        config = DetectConfig()
        if (file := Path(path) / "config.yaml").is_file():
            config = load(file).detect
        changed = {"detect": {**config.model_dump(), **settings}}
        config = validate(changed, origin="Detection").detect
        network = load_network(path)
        kind = "run folder" if Path(path).is_dir() else f"{''.join(Path(path).suffixes[-2:])} file"
        _LOG.info("Model: %s %s", kind, path)
        return Detector(network, config)

    def fingerprint(self) -> str:
        """Returns one line that another network or another setting would change."""
        digest = hashlib.sha256()
        for weights in self.network.get_weights():
            digest.update(np.ascontiguousarray(weights).data)
        settings = {"weights_sha256": digest.hexdigest(), **self.config.model_dump(mode="json")}
        return json.dumps(settings | {"means": self.network.means})

    def detect(self, image: np.ndarray | str | Path) -> Detections:
        """Finds the faces of one image.

        Args:
            image: `[H, W, 3]` uint8 RGB, or the path of a JPEG or PNG file.

        Returns:
            NumPy arrays, best face first.

        Raises:
            ValueError: For another shape or dtype, or an image without pixels.
            UserError: If the file can't be read, or the image needs more memory than there is.
        """
        pixels = _pixels(image)
        with _within_memory(pixels):
            boxes, scores = self._detect(pixels)
        return Detections(boxes.numpy(), scores.numpy())

    def detect_batch(self, images: Iterable[np.ndarray | str | Path]) -> list[Detections]:
        """Finds the faces of several images of any sizes, one by one.

        One by one, since a common canvas would change results (docs/decisions/0006) and images
        large enough to fill the device gain nothing from company.
        """
        return [self.detect(image) for image in images]


class ExportedDetector:
    """Finds faces with a SavedModel of `ssh-tf export`; the contract is that of `Detector`.

    Args:
        folder: The version's folder.

    Raises:
        UserError: If it is no SavedModel of a face detector, or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            self._model = tf.saved_model.load(str(folder))
            self._detect = self._model.signatures[signature.IMAGE_TENSOR]
        except (OSError, KeyError, tf.errors.OpError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"{folder} can't be used as a detector ({reason}). Export it again with "
                "`ssh-tf export`."
            ) from error

    def fingerprint(self) -> str:
        """Returns one line that another export would change."""
        digest = hashlib.sha256()
        for file in sorted(path for path in self._folder.rglob("*") if path.is_file()):
            digest.update(file.read_bytes())
        return json.dumps({"saved_model_sha256": digest.hexdigest()})

    def detect(self, image: np.ndarray | str | Path) -> Detections:
        """Finds the faces of one image; see `Detector.detect`."""
        pixels = _pixels(image)
        with _within_memory(pixels):
            found = self._detect(tf.constant(pixels[np.newaxis]))
        count = int(found[signature.NUM_DETECTIONS][0])
        height, width = pixels.shape[:2]
        y1, x1, y2, x2 = found[signature.DETECTION_BOXES][0, :count].numpy().T
        boxes = np.stack([x1 * width, y1 * height, x2 * width, y2 * height], axis=-1)
        return Detections(boxes, found[signature.DETECTION_SCORES][0, :count].numpy())

    def detect_batch(self, images: Iterable[np.ndarray | str | Path]) -> list[Detections]:
        """Finds the faces of several images of any sizes, one by one."""
        return [self.detect(image) for image in images]


def find_saved_model(path: Path) -> Path | None:
    """Returns `path` if it is a SavedModel, its newest version if it holds some, or None."""
    if (path / "saved_model.pb").is_file():
        return path
    versions = path.glob("*/saved_model.pb") if path.is_dir() else ()
    numbers = [int(file.parent.name) for file in versions if file.parent.name.isdigit()]
    return path / str(max(numbers)) if numbers else None


@contextlib.contextmanager
def _within_memory(pixels: np.ndarray) -> Iterator[None]:
    """Turns TensorFlow's error that memory is exhausted into the user's, who chooses the scale."""
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        height, width = pixels.shape[:2]
        raise UserError(
            f"An image of {width} x {height} px needs more memory than there is at this scale. "
            "Lower --shorter_px and --longer_px."
        ) from error


def _pixels(image: np.ndarray | str | Path) -> np.ndarray:
    if isinstance(image, (str, Path)):
        return read_image(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ValueError(
            f"`image` must be uint8 [H, W, 3] with H, W > 0. Received: {image.dtype} {image.shape}"
        )
    return image


def read_image(path: str | Path) -> np.ndarray:
    """Reads a JPEG or PNG as `[H, W, 3]` uint8 RGB.

    Raises:
        UserError: If there is no such file, it is not a whole image, or its header states more than
            `config.MAX_PIXELS`: a small file can decode to any number of them.
    """
    try:
        if Path(path).stat().st_size > _MAX_BYTES:
            raise UserError(f"{path} is too large for an image. Leave it away.")
        encoded = Path(path).read_bytes()
        if encoded.startswith((_JPEG_SIGNATURE, PNG_SIGNATURE)):
            height, width = header_size(encoded).numpy().tolist()
            if height * width > MAX_PIXELS:
                raise UserError(
                    f"{path} has {width} x {height} px, more than {MAX_PIXELS:,}. Scale it down."
                )
        return np.asarray(decode(encoded))
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
                if file.suffix.lower() in IMAGE_SUFFIXES
                and not file.name.startswith(".")  # macOS puts ._a.jpg beside a.jpg
                and file.is_file()
            )
            if not found:
                raise UserError(f"{path} holds no image ({', '.join(IMAGE_SUFFIXES)}).")
            yield from ((file, file.relative_to(path)) for file in found)
        elif path.is_file():
            yield path, Path(path.name)
        else:
            raise UserError(f"{path} does not exist. Name an image or a folder of images.")
