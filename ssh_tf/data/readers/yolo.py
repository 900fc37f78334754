"""Boxes as YOLO's text files: one per image, in fractions of it. Must not import TensorFlow."""

import logging
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from ssh_tf.data.annotations import AnnotatedImage, annotated
from ssh_tf.data.readers.classes import face_class
from ssh_tf.errors import UserError

_LOG = logging.getLogger(__name__)

CLASSES = "classes.txt"
_MOST_YAML_BYTES, _MOST_BRACKETS = 2**16, 100
_FORM = "a row `class x y w h`: center and size of the box as fractions of the image"
# Rounding takes corners a little over the border; px are far above.
_MOST = 1.5

_Rows = list[tuple[int, str, list[float]]]


def read_yolo(
    files: Iterable[tuple[Path, bytes]],
    folder: Path,
    *,
    images: Mapping[str, str],
    size: Callable[[str], tuple[int, int] | None],
    label: str | None = None,
) -> list[AnnotatedImage]:
    """Reads label files in YOLO's format.

    A file belongs to the image of the same path and name, whatever its suffix. An image without a
    file has no face.

    Args:
        files: Path and content of each, in order.
        folder: What the files are below; the classes' names are in its `classes.txt`, or in
            `data.yaml` there or up to two folders up. Without them a class is named by its number.
        images: Path without suffix to path, of the images there are.
        size: Height and width, px, of an image in the orientation that it was annotated in; None
            if it can't be read, in which case its boxes have no meaning.
        label: Name of the class that is the face, see `face_class`.

    Returns:
        The images in order. A row is a line of the label file.

    Raises:
        UserError: If a file is malformed; the message starts with `file:line`.

    References:
        https://docs.ultralytics.com/datasets/detect/
    """
    names = class_names(folder)
    found: dict[str, tuple[Path, _Rows]] = {}
    for path, content in files:
        key = path.relative_to(folder).with_suffix("").as_posix()
        found[key] = path, _parse(content, path, names)
    if unlabeled := len(images) - len(found.keys() & images.keys()):
        _LOG.info("%s: %d images have no label file: no faces.", folder, unlabeled)
    used = {name for _, rows in found.values() for _, name, _ in rows}
    chosen = face_class(used | set(names.values()), label, folder)
    entries = []
    for key in sorted({*found, *images}):
        path, rows = found.get(key, (folder / f"{key}.txt", []))
        faces = [(line, fractions) for line, name, fractions in rows if name == chosen]
        if key not in images:
            raise UserError(f"{path}: there is no image {key}.jpg, .jpeg or .png for it.")
        height, width = (faces and size(images[key])) or (1, 1)
        entries.append(
            annotated(
                images[key],
                [_to_pixels(fractions, height, width) for _, fractions in faces],
                given=(),
                file=f"{path}:",
                rows=[line for line, _ in faces],
            )
        )
    return entries


def class_names(folder: Path) -> dict[str, str]:
    """Returns number to name of the classes, as far as a file beside the labels says it.

    Raises:
        UserError: If that file is malformed.
    """
    listed = folder / CLASSES
    if listed.is_file():
        lines = listed.read_text(encoding="utf-8", errors="replace").split("\n")
        return {str(i): name.strip() for i, name in enumerate(lines) if name.strip()}
    # Usual layouts: labels/, labels/train/ and train/labels/, below the folder of data.yaml.
    for parent in (folder, *folder.resolve().parents[:2]):
        file = parent / "data.yaml"
        if file.is_file():
            return _yaml_names(file)
    return {}


def _yaml_names(file: Path) -> dict[str, str]:
    expected = "`names`, a list of the classes or a mapping of numbers to them"
    try:
        if file.stat().st_size > _MOST_YAML_BYTES:
            raise UserError(f"{file} is too long for YOLO's settings. Expected {expected}.")
        names = _load_yaml(file.read_bytes())["names"]
        pairs = enumerate(names) if isinstance(names, list) else names.items()
        named = {str(number): name for number, name in pairs}
    except (
        yaml.YAMLError,
        KeyError,
        TypeError,
        AttributeError,
        ValueError,
        RecursionError,
    ) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{file}: expected {expected} ({reason}).") from error
    if not all(isinstance(name, str) for name in named.values()):
        raise UserError(f"{file}: expected {expected}; one of them is not text.")
    return named


def _load_yaml(content: bytes) -> Any:
    if content.count(b"[") + content.count(b"{") > _MOST_BRACKETS:  # PyYAML takes long for those
        raise ValueError("too many brackets")
    try:
        return yaml.safe_load(content)
    except RecursionError as error:  # `- - - -`, thousands deep
        raise ValueError("nested too deeply") from error


def _parse(content: bytes, path: Path, names: Mapping[str, str]) -> _Rows:
    rows = []
    for number, text in enumerate(content.decode("utf-8-sig", errors="replace").split("\n"), 1):
        if tokens := text.split():
            where = f"{path}:{number}"
            if len(tokens) != 5 or not tokens[0].isdecimal():
                raise UserError(f"{where}: expected {_FORM}, received {text.strip()[:80]!r}.")
            rows.append((number, names.get(tokens[0], tokens[0]), _fractions(tokens[1:], where)))
    return rows


def _fractions(tokens: list[str], where: str) -> list[float]:
    try:
        values = [float(token) for token in tokens]
    except ValueError:
        values = [math.nan]
    if not all(abs(value) < _MOST for value in values):
        raise UserError(f"{where}: expected {_FORM}, received {' '.join(tokens)[:80]!r}.")
    return values


def _to_pixels(fractions: list[float], height: int, width: int) -> list[float]:
    x, y, w, h = fractions
    return [(x - w / 2) * width, (y - h / 2) * height, w * width, h * height]
