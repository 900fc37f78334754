"""Draws the pictures of this folder, each by the code that draws it for people: `make gallery`.

People are drawn ones; the one photo is NASA's portrait of Eileen Collins, in the public domain,
which scikit-image holds.
"""

from pathlib import Path

import cv2
import numpy as np
from skimage.data import astronaut

import ssh_tf
from ssh_tf.data.synthetic import draw_image
from ssh_tf.imaging.draw import draw_boxes

HERE = Path(__file__).parent
MAX_BYTES = 300_000
SHOWN_FROM = 0.5


def portrait(side: int = 512) -> np.ndarray:
    """Returns the photo, `[side, side, 3]` uint8 RGB."""
    return cv2.resize(astronaut(), (side, side), interpolation=cv2.INTER_CUBIC)


def scene(seed: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns a drawn scene, `[height, width, 3]` uint8 RGB, and its faces' corners, `[F, 4]`."""
    pixels, boxes, _ = draw_image(np.random.default_rng(seed), height, width, smallest_px=36)
    return pixels, np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def save(name: str, pixels: np.ndarray) -> None:
    """Writes a picture, as a JPEG of the best quality that is small enough."""
    for quality in range(90, 40, -5):
        _, encoded = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        if len(encoded) <= MAX_BYTES:
            break
    (HERE / name).write_bytes(encoded.tobytes())


def hero(detector: ssh_tf.Detector) -> None:
    """Draws the photo beside a scene."""
    photo, drawn = portrait(560), scene(685, 560, 840)[0]
    left, right = (detector.detect(pixels).filter(SHOWN_FROM) for pixels in (photo, drawn))
    boxes = np.concatenate([left.boxes, np.add(right.boxes, [560, 0, 560, 0])])
    scores = np.concatenate([left.scores, right.scores])
    both = np.concatenate([photo, drawn], axis=1)
    save("hero.jpg", draw_boxes(both, boxes, scores, key=False))


def main() -> None:
    """Draws all."""
    detector = ssh_tf.load()
    hero(detector)


if __name__ == "__main__":
    main()
