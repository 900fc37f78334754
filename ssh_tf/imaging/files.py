"""Image files: from a file's bytes to pixels, and the images of a folder."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ssh_tf.config import MAX_PIXELS
from ssh_tf.errors import UserError
from ssh_tf.imaging.header import JPEG_SIGNATURE, PNG_SIGNATURE

Tensor = Any

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")

_MAX_BYTES = 8 * MAX_PIXELS  # a PNG of four channels of 16 bits, not compressed at all


def decode(encoded: Tensor) -> Tensor:
    """Decodes a JPEG or PNG to RGB.

    Args:
        encoded: Scalar string, the file's bytes.

    Returns:
        `[H, W, 3]` uint8. Grey is repeated, alpha and 16-bit depth are dropped; EXIF rotation is
        not applied, as WIDER's boxes are drawn on the stored pixels.

    Raises:
        tf.errors.InvalidArgumentError: If the bytes are neither, or incomplete.
    """
    jpeg = tf.io.is_jpeg(encoded)
    png = tf.strings.substr(encoded, 0, len(PNG_SIGNATURE)) == PNG_SIGNATURE
    # `decode_png` also takes other formats, of which WebP gets a fourth axis.
    with tf.control_dependencies([tf.debugging.Assert(jpeg | png, ["neither JPEG nor PNG"])]):
        return tf.cond(jpeg, lambda: _decode_jpeg(encoded), lambda: _decode_png(encoded))


def decode_bytes(encoded: bytes) -> Tensor:
    """Does what `decode` does in one operation, outside of graphs: other threads run meanwhile.

    Args:
        encoded: A file's bytes that begin like a JPEG or a PNG.

    Returns:
        As `decode`.

    Raises:
        tf.errors.InvalidArgumentError: If they are incomplete or damaged.
    """
    return _decode_png(encoded) if encoded.startswith(PNG_SIGNATURE) else _decode_jpeg(encoded)


def _decode_jpeg(encoded: Tensor) -> Tensor:
    # The accurate transform is the one OpenCV and PIL use.
    return tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")


def _decode_png(encoded: Tensor) -> Tensor:
    return tf.io.decode_png(encoded, channels=3)


def header_size(encoded: Tensor) -> Tensor:
    """Reads the size that a JPEG's or PNG's header states, without decoding it.

    Args:
        encoded: Scalar string, the file's bytes.

    Returns:
        `[2]` int64, height and width, px.

    Raises:
        tf.errors.InvalidArgumentError: If the bytes are neither, or the header is incomplete.
    """

    def png() -> Tensor:
        # Signature, length and type of the first chunk; then width and height, big-endian.
        sides = tf.io.decode_raw(tf.strings.substr(encoded, 16, 8), tf.int32, little_endian=False)
        return tf.cast(tf.ensure_shape(sides, [2])[::-1], tf.int64)

    def jpeg() -> Tensor:
        return tf.cast(tf.io.extract_jpeg_shape(encoded)[:2], tf.int64)

    return tf.cond(tf.io.is_jpeg(encoded), jpeg, png)


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
        if encoded.startswith((JPEG_SIGNATURE, PNG_SIGNATURE)):
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
