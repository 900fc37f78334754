"""Boxes as Pascal VOC files: one XML file per image. Must not import TensorFlow."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from xml.parsers import expat

from ssh_tf.data.annotations import ATTRIBUTES, AnnotatedImage, annotated, check_name
from ssh_tf.data.readers.classes import face_class
from ssh_tf.errors import UserError

_LOG = logging.getLogger(__name__)
_LARGEST = 1e9  # px, beyond any picture
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_OBJECT = ("annotation", "object")
_MOST_LEVELS = 100  # of tags; Pascal VOC needs five
_DIFFICULT = ATTRIBUTES.index("invalid")


@dataclass
class _Object:
    """An object of a file: its line, and texts by tag."""

    line: int
    values: dict[str, str] = field(default_factory=dict)


class _Document:
    """What one file says.

    Attributes:
        path: The file.
        values: Texts by tag, of the image.
        objects: What is in it.
    """

    def __init__(self, content: bytes, path: Path) -> None:
        self.path, self.values, self.objects = path, dict[str, str](), list[_Object]()
        self._tags, self._text = list[str](), list[str]()
        self._parser = expat.ParserCreate()
        self._parser.StartElementHandler, self._parser.EndElementHandler = self._start, self._end
        self._parser.CharacterDataHandler = self._text.append
        # Entities can grow without bounds or name other files; no annotation needs them.
        self._parser.StartDoctypeDeclHandler = self._parser.EntityDeclHandler = self._refuse
        try:
            self._parser.Parse(content, True)
        except (expat.ExpatError, ValueError, LookupError) as error:
            line = self._parser.ErrorLineNumber
            raise UserError(f"{path}:{line}: not an XML file ({error}). Fix it.") from error
        if not self.values and not self.objects:
            raise UserError(f"{path}: expected <annotation> with <object>s, as Pascal VOC has it.")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        del attributes
        self._tags.append(tag)
        if len(self._tags) > _MOST_LEVELS:
            line = self._parser.CurrentLineNumber
            raise UserError(f"{self.path}:{line}: more than {_MOST_LEVELS} tags in each other.")
        self._text.clear()
        if tuple(self._tags) == _OBJECT:
            self.objects.append(_Object(self._parser.CurrentLineNumber))

    def _end(self, tag: str) -> None:
        self._tags.pop()
        parents, text = tuple(self._tags), "".join(self._text).strip()
        # Parts of an object, as the head of a person, have boxes, too, one level down.
        if parents in (_OBJECT, (*_OBJECT, "bndbox")):
            self.objects[-1].values[tag] = text
        elif parents in (("annotation",), ("annotation", "size")):
            self.values[tag] = text
        self._text.clear()

    def _refuse(self, *declaration: object) -> None:
        line = self._parser.CurrentLineNumber
        raise UserError(f"{self.path}:{line}: document types and entities are refused. Remove it.")


def read_voc(
    files: Iterable[tuple[Path, bytes]],
    folder: Path,
    *,
    images: Mapping[str, str] | None = None,
    label: str | None = None,
) -> list[AnnotatedImage]:
    """Reads files in Pascal VOC's format.

    A file belongs to the image of the same path and name, whatever its suffix, and else to the
    `filename` that it states. An object that is `difficult` has the attribute `invalid`.

    Args:
        files: Path and content of each, in order.
        folder: What the files are below, which decides the images' names.
        images: Path without suffix to path, of the images there are; by default unknown.
        label: Name of the objects that are faces, see `face_class`.

    Returns:
        An image per file, those without a face included. A row is a line of the file.

    Raises:
        UserError: If a file is malformed; the message starts with `file:line`.

    Note:
        VOC's files count pixels from 1 and `xmax` is the last pixel; most programs that write
        this format count from 0 and write `x + w`. A 0 among all `xmin` and `ymin` tells which.

    References:
        The PASCAL Visual Object Classes Challenge 2012 Development Kit, section 7 (file format).
    """
    documents = [_Document(content, path) for path, content in files]
    every = [found for document in documents for found in document.objects]
    chosen = face_class({found.values.get("name", "") for found in every}, label, folder)
    boxes = [
        [
            (found, _corners(found, document.path))
            for found in document.objects
            if found.values.get("name", "") == chosen
        ]
        for document in documents
    ]
    lowest = [min(corners[:2]) for faces in boxes for _, corners in faces]
    first = 0.0 if lowest and min(lowest) < 1 else 1.0
    _LOG.info("%s: boxes count pixels from %d.", folder, first)
    return [
        _entry(document, faces, first, folder, images)
        for document, faces in zip(documents, boxes, strict=True)
    ]


def _corners(found: _Object, path: Path) -> list[float]:
    values = []
    for key in _CORNERS:
        text = found.values.get(key, "")
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not abs(value) < _LARGEST:
            raise UserError(f"{path}:{found.line}: expected px as {key}, received {text[:80]!r}.")
        values.append(value)
    return values


def _entry(
    document: _Document,
    faces: list[tuple[_Object, list[float]]],
    first: float,
    folder: Path,
    images: Mapping[str, str] | None,
) -> AnnotatedImage:
    rows = []
    for found, (x1, y1, x2, y2) in faces:
        box = [x1 - first, y1 - first, x2 - x1 + first, y2 - y1 + first]
        attributes = [0.0] * len(ATTRIBUTES)
        attributes[_DIFFICULT] = float(found.values.get("difficult") == "1")
        rows.append([*box, *attributes])
    given = ("invalid",) if any("difficult" in found.values for found, _ in faces) else ()
    return annotated(
        _image_name(document, folder, images),
        rows,
        given=given,
        file=f"{document.path}:",
        rows=[found.line for found, _ in faces],
        declared_size=_size(document.values),
    )


def _image_name(document: _Document, folder: Path, images: Mapping[str, str] | None) -> str:
    key = document.path.relative_to(folder).with_suffix("").as_posix()
    stated = PurePosixPath(document.values.get("filename", "").replace("\\", "/"))
    if images is None:
        return f"{key}{stated.suffix or '.jpg'}"
    if key in images:
        return images[key]
    if not stated.name:
        raise UserError(
            f"{document.path}: there is no image {key}.*, and no <filename> says which."
        )
    beside = PurePosixPath(key).with_name(stated.name)
    return check_name(str(beside), str(document.path))


def _size(values: Mapping[str, str]) -> tuple[int, int] | None:
    height, width = (values.get(key, "") for key in ("height", "width"))
    # Some programs write 0 x 0.
    known = height.isdecimal() and width.isdecimal() and int(height) * int(width) > 0
    return (int(height), int(width)) if known else None
