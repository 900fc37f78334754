"""The faces of one image, as every detector returns them. NumPy only: clients use it, too."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ssh_tf import signature
from ssh_tf.errors import UserError

# Why a served or exported model refused an image.
REFUSALS = {
    signature.STATUS_NOT_AN_IMAGE: "neither JPEG nor PNG",
    signature.STATUS_TOO_LARGE: "too large",
    signature.STATUS_CORRUPT: "not whole",
}

_SHOWN = 3  # Faces in a repr.


class Face(NamedTuple):
    """One face.

    Attributes:
        box: `[4]` float32 `x1, y1, x2, y2`, px of the upright image.
        score: In `(0, 1]`.
    """

    box: np.ndarray
    score: float


class Detections:
    """The faces of one image, best first: a sequence of `Face`.

    Args:
        boxes: `[D, 4]` float32 `x1, y1, x2, y2`, px of the upright image; widths are `x2 - x1`.
        scores: `[D]` float32 in `(0, 1]`.
        size: Height and width of the upright image, px.
        image: `[H, W, 3]` uint8 RGB, or what reads it when it is needed. Without it there is
            nothing to draw on or to crop from.

    Attributes:
        boxes: As given.
        scores: As given.
        size: As given.
    """

    def __init__(
        self,
        boxes: np.ndarray,
        scores: np.ndarray,
        size: tuple[int, int],
        image: np.ndarray | Callable[[], np.ndarray] | None = None,
    ) -> None:
        if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.shape != boxes.shape[:1]:
            raise ValueError(
                "`boxes` must be [D, 4] and `scores` [D]. "
                f"Received: {boxes.shape} and {scores.shape}"
            )
        self.boxes, self.scores, self.size = boxes, scores, size
        self._image = image

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, index: int) -> Face:
        return Face(self.boxes[index], float(self.scores[index]))

    def __iter__(self) -> Iterator[Face]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        height, width = self.size
        count = f"{len(self)} face{'s' * (len(self) != 1)} in {width} x {height} px"
        shown = [
            f"{score:.2f} at [{', '.join(f'{value:.0f}' for value in box)}]"
            for box, score in list(self)[:_SHOWN]
        ]
        more = ["..."] if len(self) > _SHOWN else []
        return f"Detections({count}{': ' * bool(shown)}{', '.join(shown + more)})"

    @property
    def image(self) -> np.ndarray:
        """The upright `[H, W, 3]` uint8 RGB pixels; an image from a file is read again.

        Raises:
            ValueError: If these detections were made without an image.
        """
        if self._image is None:
            raise ValueError("These detections have no image. Pass `image=` to `Detections`.")
        return self._image() if callable(self._image) else self._image

    @property
    def xyxy(self) -> np.ndarray:
        """`[D, 4]` float32 `x1, y1, x2, y2`, px: another name of `boxes`."""
        return self.boxes

    @property
    def xywh(self) -> np.ndarray:
        """`[D, 4]` float32 left, top, width, height, px."""
        return np.concatenate([self.boxes[:, :2], self.boxes[:, 2:] - self.boxes[:, :2]], axis=1)

    @property
    def normalized(self) -> np.ndarray:
        """`[D, 4]` float32 `x1, y1, x2, y2` as fractions of the image's width and height."""
        height, width = self.size
        return self.boxes / np.array([width, height, width, height], np.float32)

    def filter(self, score: float) -> "Detections":
        """Returns the faces whose score is at least `score`."""
        good = self.scores >= score
        return Detections(self.boxes[good], self.scores[good], self.size, self._image)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON: `height`, `width`, `faces` with `box` and `score`."""
        faces = [
            {"box": [round(float(value), 2) for value in box], "score": round(score, 6)}
            for box, score in self
        ]
        return {"height": self.size[0], "width": self.size[1], "faces": faces}

    def to_pandas(self) -> Any:
        """Returns a pandas `DataFrame` with the columns `x1`, `y1`, `x2`, `y2`, `score`.

        Raises:
            UserError: If pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise UserError("Tables need pandas. Install it: pip install pandas.") from error
        table = pd.DataFrame(self.boxes, columns=["x1", "y1", "x2", "y2"])
        return table.assign(score=self.scores)

    def draw(self) -> np.ndarray:
        """Draws the faces on a copy of the image; small images are enlarged by a whole factor.

        Returns:
            `[H, W, 3]` uint8 RGB.
        """
        from ssh_tf.imaging.draw import draw_boxes

        return draw_boxes(self.image, self.boxes, self.scores)

    def save(self, path: str | Path) -> None:
        """Writes the picture that `draw` returns; the suffix gives the format.

        Raises:
            UserError: If the format is not known, or does not take a picture of this size.
            OSError: If it can't be written.
        """
        from ssh_tf.imaging.draw import save_picture

        save_picture(Path(path), self.draw())

    def crops(self, margin: float = 0.0) -> list[np.ndarray]:
        """Cuts the faces out.

        Args:
            margin: What is added at each of the four sides, as a fraction of the box's width or
                height. Where the image ends, so does the crop.

        Returns:
            One `[h, w, 3]` uint8 RGB copy per face, at least one px high and wide.

        Raises:
            ValueError: If `margin` is negative or not finite.
        """
        if not 0 <= margin < math.inf:
            raise ValueError(f"`margin` must be finite and at least 0. Received: {margin}")
        image = self.image
        return [image[rows, columns].copy() for rows, columns in self._windows(margin)]

    def _windows(self, margin: float) -> Iterator[tuple[slice, slice]]:
        """Yields the rows and columns of each face with its margin, in whole px."""
        height, width = self.size
        sides = self.boxes[:, 2:] - self.boxes[:, :2]  # [D, 2]
        first = np.floor(self.boxes[:, :2] - margin * sides)
        last = np.ceil(self.boxes[:, 2:] + margin * sides)
        limit = np.array([width, height])
        first = np.clip(first, 0, limit - 1).astype(int)
        last = np.clip(last, first + 1, limit).astype(int)
        for (left, top), (right, bottom) in zip(first, last, strict=True):
            yield slice(top, bottom), slice(left, right)


def boxes_in_px(fractions: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Turns a served model's boxes into px.

    Args:
        fractions: `[D, 4]` float32 `ymin, xmin, ymax, xmax` of the image's height and width.
        size: Height and width, px.

    Returns:
        `[D, 4]` float32 `x1, y1, x2, y2`, px.
    """
    height, width = size
    return fractions[:, [1, 0, 3, 2]] * np.array([width, height, width, height], np.float32)
