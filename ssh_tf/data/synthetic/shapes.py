"""Drawing primitives: a pen for polygons, points on curves, maps of the plane, blurring."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from ssh_tf.data.synthetic.colors import Color


@dataclass(frozen=True, slots=True)
class Pen:
    """A canvas `[h, w, C]` uint8 and the `[2, 3]` map from drawing units to its pixels."""

    canvas: np.ndarray
    matrix: np.ndarray

    def fill(self, points: np.ndarray, color: Color) -> None:
        """Fills a polygon `[K, 2]` with anti-aliased edges."""
        cv2.fillPoly(self.canvas, [self._fixed(points)], (*color, 255), cv2.LINE_AA, shift=4)

    def stroke(self, points: np.ndarray, color: Color, width: float) -> None:
        """Draws a polyline `[K, 2]` of the given width in drawing units."""
        scale = math.sqrt(abs(float(np.linalg.det(self.matrix[:, :2]))))
        thick = max(1, round(width * scale))
        cv2.polylines(
            self.canvas, [self._fixed(points)], False, (*color, 255), thick, cv2.LINE_AA, 4
        )

    def mapped(self, matrix: np.ndarray) -> "Pen":
        """Returns a pen whose units are first mapped by `[2, 3]` `matrix`."""
        linear = self.matrix[:, :2]
        moved = linear @ matrix[:, 2:] + self.matrix[:, 2:]
        return Pen(self.canvas, np.concatenate([linear @ matrix[:, :2], moved], axis=1))

    def _fixed(self, points: np.ndarray) -> np.ndarray:
        # cv2 puts pixel centers at whole numbers; edges are whole numbers everywhere else.
        pixels = points @ self.matrix[:, :2].T + self.matrix[:, 2] - 0.5
        fixed: np.ndarray = np.rint(pixels * 16).astype(np.int32)
        return fixed


def rotation(angle: float) -> np.ndarray:
    """Returns the `[2, 2]` matrix that turns by radians, clockwise as `y` points down."""
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def placed(x: float, y: float, size: float, angle: float) -> np.ndarray:
    """Returns the `[2, 3]` map that scales, turns and then moves the origin to `x, y`."""
    return np.concatenate([rotation(angle) * size, [[x], [y]]], axis=1)


def blob(x: float, y: float, half_width: float, half_height: float, points: int = 28) -> np.ndarray:
    """Returns an ellipse `[points, 2]` around `x, y`."""
    angles = np.linspace(0, 2 * math.pi, points, endpoint=False)
    return np.stack([x + half_width * np.cos(angles), y + half_height * np.sin(angles)], axis=1)


def arc(
    x: float,
    y: float,
    half_width: float,
    half_height: float,
    start: float,
    stop: float,
    points: int = 14,
) -> np.ndarray:
    """Returns part of an ellipse; angles in half turns, 0 right, 0.5 down, 1 left, 1.5 up."""
    angles = math.pi * np.linspace(start, stop, points)
    return np.stack([x + half_width * np.cos(angles), y + half_height * np.sin(angles)], axis=1)


def rectangle(x1: float, y1: float, x2: float, y2: float) -> np.ndarray:
    """Returns the corners `[4, 2]`."""
    return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Blurs by about `sigma` px; wide blurs on a shrunk copy, since a wide kernel is slow."""
    shrink = max(1, int(sigma / 2))
    size = image.shape[1], image.shape[0]
    small = tuple(max(1, side // shrink) for side in size)
    blurred = cv2.GaussianBlur(
        cv2.resize(image, small, interpolation=cv2.INTER_AREA), (0, 0), sigma / shrink
    )
    return cv2.resize(blurred, size, interpolation=cv2.INTER_LINEAR)
