"""The photos that detectors are timed on: given ones, cut to one shape, or a drawn one."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ssh_tf.data.synthetic import draw_image
from ssh_tf.imaging.files import read_image

# WIDER's usual factor: 1024 px wide landscapes become 1600 px wide.
_SCALE = 1.5625


def cut_photos(folder: Path, photos: Sequence[Path], size: tuple[int, int]) -> list[Path]:
    """Writes what is in the middle of photos, in the shape of the network's input, as JPEGs.

    Args:
        folder: Where to.
        photos: Image files; without any, one picture is drawn.
        size: Height and width of the network's input, px.

    Returns:
        The files.

    Raises:
        UserError: If a photo can't be read.
    """
    if not photos:
        return [draw_photo(folder, size)]
    files = [folder / f"{i}.jpg" for i in range(len(photos))]
    for file, photo in zip(files, photos, strict=True):
        _write(file, _middle(read_image(photo), size))
    return files


def draw_photo(folder: Path, size: tuple[int, int]) -> Path:
    """Draws a picture with faces, which is enlarged to `size` (height, width) as WIDER's are."""
    height, width = (round(side / _SCALE) for side in size)
    image, *_ = draw_image(np.random.default_rng(0), height, width, smallest_px=12)
    _write(folder / "drawn.jpg", image)
    return folder / "drawn.jpg"


def _middle(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    height, width = image.shape[:2]
    factor = min(height / size[0], width / size[1])
    rows, columns = (max(1, round(side * factor)) for side in size)
    top, left = (height - rows) // 2, (width - columns) // 2
    return image[top : top + rows, left : left + columns]


def _write(path: Path, image: np.ndarray) -> None:
    path.write_bytes(cv2.imencode(".jpg", image[..., ::-1])[1].tobytes())
