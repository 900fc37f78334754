"""Boxes as a COCO file: one JSON file with images, annotations and categories.

Must not import TensorFlow.
"""

import json
import logging
from pathlib import Path
from typing import Any

from ssh_tf.data.annotations import AnnotatedImage, annotated, check_name
from ssh_tf.data.readers.classes import face_class
from ssh_tf.errors import UserError

_LOG = logging.getLogger(__name__)
_LARGEST = 1e9  # px, beyond any picture
_FORM = 'a COCO file: {"images": [...], "annotations": [...], "categories": [...]}'

Item = dict[str, Any]


def read_coco(content: bytes, file: Path, *, label: str | None = None) -> list[AnnotatedImage]:
    """Reads a file in COCO's format for object detection.

    Boxes of other categories and crowd regions (`iscrowd`), which hold several faces, are ignored.

    Args:
        content: The file's bytes.
        file: What it is called in errors.
        label: Name of the category that is the face, see `face_class`.

    Returns:
        The images in the file's order, those without a face included. A row is an annotation's id.

    Raises:
        UserError: If the file is malformed; the message names the image or the annotation.

    References:
        https://cocodataset.org/#format-data: `bbox` is `[x, y, width, height]`, px from 0.
    """
    data = _parse(content, file)
    images, annotations, categories = (
        _items(data, key, file) for key in ("images", "annotations", "categories")
    )
    names = {_id(item, "id", f"{file}: categories[{i}]"): _name(item) for i, item in categories}
    chosen = face_class(list(names.values()), label, file)
    entries = {_id(item, "id", f"{file}: images[{i}]"): item for i, item in images}
    if len(entries) < len(images):
        raise UserError(f"{file}: two images have the same id. Expected each id once.")
    faces: dict[Any, list[tuple[int, list[float]]]] = {key: [] for key in entries}
    crowds = 0
    for i, item in annotations:
        if names.get(_id(item, "category_id", f"{file}: annotations[{i}]")) != chosen:
            continue
        where = f"{file}: annotation {item.get('id', i)!s:.40}"
        if item.get("iscrowd"):
            crowds += 1
            continue
        image = _id(item, "image_id", where)
        if image not in faces:
            raise UserError(f"{where}: its image_id {image!r:.40} is not the id of an image.")
        faces[image].append((item.get("id", i), _box(item.get("bbox"), where)))
    if crowds:
        _LOG.warning("%s: %d crowd regions (iscrowd) are ignored.", file, crowds)
    return [_entry(item, faces[key], file) for key, item in entries.items()]


def _parse(content: bytes, file: Path) -> Item:
    try:
        data = json.loads(content)
    # RecursionError: brackets in brackets, thousands deep. ValueError covers JSON and Unicode.
    except (ValueError, RecursionError, MemoryError) as error:
        raise UserError(f"{file} is not JSON ({str(error)[:200]}). Expected {_FORM}.") from error
    if not isinstance(data, dict):
        raise UserError(f"{file}: expected {_FORM}, received a {type(data).__name__}.")
    return data


def _items(data: Item, key: str, file: Path) -> list[tuple[int, Item]]:
    """Returns the numbered entries of one of the file's three lists."""
    items = data.get(key)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise UserError(f"{file}: `{key}` is not a list of objects. Expected {_FORM}.")
    return list(enumerate(items))


def _id(item: Item, key: str, where: str) -> int | str:
    value = item.get(key)
    if not isinstance(value, (int, str)) or isinstance(value, bool):
        raise UserError(f"{where}: expected a number as `{key}`, received {value!r:.80}.")
    return value


def _name(category: Item) -> str:
    return str(category.get("name", ""))


def _box(value: object, where: str) -> list[float]:
    if isinstance(value, list) and len(value) == 4 and all(map(_is_number, value)):
        return [float(number) for number in value]
    raise UserError(
        f"{where}: expected `bbox` [x, y, width, height] in px, received {value!r:.80}."
    )


def _is_number(value: object) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and abs(value) < _LARGEST  # type: ignore[arg-type]  # NaN fails, too


def _entry(item: Item, faces: list[tuple[int, list[float]]], file: Path) -> AnnotatedImage:
    where = f"{file}: image {item['id']!s:.40}"
    name, size = item.get("file_name"), (item.get("height"), item.get("width"))
    if not isinstance(name, str):
        raise UserError(f"{where}: expected its path as `file_name`, received {name!r:.80}.")
    stated = all(isinstance(side, int) and side > 0 for side in size)
    return annotated(
        check_name(name, where),
        [box for _, box in faces],
        given=(),
        file=f"{file}: annotation ",
        rows=[row for row, _ in faces],
        declared_size=size if stated else None,
    )
