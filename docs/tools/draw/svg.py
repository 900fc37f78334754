"""What the pictures share: pieces of SVG, their colors, a photo inside of an SVG."""

import base64
from collections.abc import Iterable
from xml.sax.saxutils import escape

import cv2
import numpy as np

PAPER, INK, FAINT = "#f5f7f6", "#1d2b2a", "#5f6f6d"
# Of the detection modules, from the finest to the coarsest; they differ in brightness, too.
MODULES = ("#e69f00", "#0072b2", "#b0357a")
_FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"


def document(width: int, height: int, label: str, parts: Iterable[str]) -> str:
    """Returns a whole SVG file.

    Args:
        width: px.
        height: px.
        label: What is to be seen, for those who do not see it.
        parts: Its elements, the first one below all others.
    """
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" role="img" font-family="{_FONT}" font-size="15">',
            f"<title>{escape(label)}</title>",
            rectangle(0, 0, width, height, fill=PAPER, radius=8),
            *parts,
            "</svg>",
            "",
        ]
    )


def rectangle(
    x: float, y: float, width: float, height: float, *, radius: int = 0, **style: object
) -> str:
    """Returns a rectangle; `style` are its attributes, `stroke_width` for `stroke-width`."""
    place = f'x="{x:.4g}" y="{y:.4g}" width="{width:.4g}" height="{height:.4g}"'
    return f"<rect {place}{f' rx={chr(34)}{radius}{chr(34)}' * (radius > 0)}{_attributes(style)}/>"


def outline(box: Iterable[float], **style: object) -> str:
    """Returns the outline of a box `x1, y1, x2, y2`."""
    x1, y1, x2, y2 = box
    return rectangle(x1, y1, x2 - x1, y2 - y1, fill="none", **style)


def words(x: float, y: float, text: str, **style: object) -> str:
    """Returns a line of text with its middle (or `text_anchor`) at x and its foot at y."""
    style = {"text_anchor": "middle", "fill": INK} | style
    return f'<text x="{x:.4g}" y="{y:.4g}"{_attributes(style)}>{escape(text)}</text>'


def arrow(*points: tuple[float, float], color: str = FAINT) -> str:
    """Returns a line through points that ends in an arrow; its last part is upright or level."""
    (x0, y0), (x1, y1) = points[-2:]
    path = "M" + " L".join(f"{x:.4g} {y:.4g}" for x, y in points)
    step = np.sign([x1 - x0, y1 - y0]) * 6.0
    side = step[::-1] / 2
    tips = [(x1 - step[0] + sign * side[0], y1 - step[1] + sign * side[1]) for sign in (1, -1)]
    head = " ".join(f"{x:.4g},{y:.4g}" for x, y in [(x1, y1), *tips])
    return (
        f'<path d="{path}" fill="none" stroke="{color}" stroke-width="1.5"/>'
        f'<polygon points="{head}" fill="{color}"/>'
    )


def photo(pixels: np.ndarray, x: float, y: float, quality: int = 80) -> str:
    """Returns an image, `[H, W, 3]` uint8 RGB, as a part of the file."""
    _, encoded = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    data = base64.b64encode(encoded.tobytes()).decode()
    height, width = pixels.shape[:2]
    place = f'x="{x:.4g}" y="{y:.4g}" width="{width}" height="{height}"'
    return f'<image {place} href="data:image/jpeg;base64,{data}"/>'


def _attributes(style: dict[str, object]) -> str:
    return "".join(f' {name.replace("_", "-")}="{value}"' for name, value in style.items())
