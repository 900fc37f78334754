"""WIDER FACE on disk: its folder layout and its annotation text.

Reads and writes text only, never pictures. Must not import TensorFlow.

The annotation file holds one entry per image: its name, the number of faces, then one row per face,
`x y w h blur expression illumination invalid occlusion pose`. The files in circulation differ in
what follows a count of 0 (nothing, or one row of zeros); both are read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ssh_tf.data.annotations import ATTRIBUTES, AnnotatedImage, annotated, check_name
from ssh_tf.errors import UserError
from ssh_tf.files import existing_file, existing_folder, write_text

_BOX_COLUMNS = 4
_ALL_COLUMNS = _BOX_COLUMNS + len(ATTRIBUTES)
_LARGEST = 1e9  # Beyond any picture, and whole numbers up to it are exact as int64.
_ZERO_ROW = " ".join(["0"] * _ALL_COLUMNS)
_LAYOUT = "WIDER_<split>/images/<event>/*.jpg and wider_face_split/wider_face_<split>_bbx_gt.txt"
_SOURCE = f"Get WIDER FACE from http://shuoyang1213.me/WIDERFACE/ and unpack it as {_LAYOUT}."


@dataclass(frozen=True, slots=True)
class WiderSplit:
    """Where one split of a WIDER FACE folder lies.

    Attributes:
        images_dir: Folder that the image names are relative to.
        annotations: Annotation text file.
    """

    images_dir: Path
    annotations: Path


@dataclass(frozen=True, slots=True)
class _Line:
    """One non-blank line with the place it came from."""

    file: Path
    number: int
    text: str

    def error(self, expected: str, remedy: str) -> UserError:
        shown = self.text if len(self.text) <= 80 else self.text[:77] + "..."
        return UserError(
            f"{self.file}:{self.number}: expected {expected}, received {shown!r}. {remedy}"
        )


def split_layout(root: Path, split: str) -> WiderSplit:
    """Names the two places of a split in WIDER's folder layout, whether they exist or not."""
    return WiderSplit(
        images_dir=root / f"WIDER_{split}" / "images",
        annotations=root / "wider_face_split" / f"wider_face_{split}_bbx_gt.txt",
    )


def find_split(root: Path, split: str) -> WiderSplit:
    """Finds a split's images and annotations below `root`.

    Args:
        root: Folder that holds `WIDER_<split>` and `wider_face_split`.
        split: `train`, `val` or the name of another split.

    Returns:
        The split's existing images folder and annotation file.

    Raises:
        UserError: If the root, the split's folder, its images or its annotation file is missing.
            The message names the splits there are.
    """
    existing_folder(root, f"WIDER FACE. {_SOURCE.removesuffix('.')}")
    found = split_layout(root, split)
    if not found.images_dir.is_dir():
        raise UserError(
            f"{root} has no split {split!r} (no folder {found.images_dir}). {_known_splits(root)}"
        )
    if next(found.images_dir.iterdir(), None) is None:
        raise UserError(f"{found.images_dir} is empty. {_SOURCE}")
    existing_file(
        found.annotations,
        f"the annotations of split {split!r} in WIDER's text format. {_SOURCE.removesuffix('.')}",
    )
    return found


def read_annotations(file: Path) -> list[AnnotatedImage]:
    """Reads an annotation file in WIDER FACE's text format.

    Blank lines, trailing blanks, CRLF and a missing last newline are allowed. A row may also be
    `x y w h` alone; its attributes are then 0.

    Args:
        file: For instance `wider_face_train_bbx_gt.txt`.

    Returns:
        The images in the file's order, those without a face included.

    Raises:
        UserError: If the file is absent, empty or malformed; the message starts with `file:line`.
    """
    existing_file(file, "annotations in WIDER's text format")
    return parse_annotations(file.read_bytes(), file)


def parse_annotations(content: bytes, file: Path) -> list[AnnotatedImage]:
    """Reads annotations in WIDER FACE's text format, see `read_annotations`.

    Args:
        content: The file's bytes.
        file: What it is called in errors.
    """
    lines = _read_lines(content, file)
    images: list[AnnotatedImage] = []
    seen: dict[str, int] = {}
    at = 0
    while at < len(lines):
        start = lines[at]
        image, at = _read_entry(lines, at)
        if image.name in seen:
            raise start.error(
                f"each image once (it is in line {seen[image.name]} already)",
                "Remove one of the two entries.",
            )
        seen[image.name] = start.number
        images.append(image)
    return images


def write_annotations(file: Path, images: Sequence[AnnotatedImage]) -> None:
    """Writes an annotation file byte for byte as the official ones are written.

    Whole numbers carry no decimal point, each row ends with a blank, and an image without a face
    has the row of zeros.

    Args:
        file: The file to write, whole or not at all. Its folder must exist.
        images: The entries in order.
    """
    write_text(file, "".join(_format_entry(image) for image in images))


def _known_splits(root: Path) -> str:
    known = sorted(p.parent.name.removeprefix("WIDER_") for p in root.glob("WIDER_*/images"))
    if not known:
        return _SOURCE
    return f"Splits there: {', '.join(known)}."


def _read_lines(content: bytes, file: Path) -> list[_Line]:
    """Returns the non-blank lines, stripped; numbers count the blank ones too."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        received = content[error.start : error.end]
        raise UserError(
            f"{file}:{number}: expected UTF-8 text, received the bytes {received!r}. "
            "Save the annotations as UTF-8."
        ) from error
    # Not splitlines(): it also breaks at characters that a name may hold.
    lines = [_Line(file, i, s.strip()) for i, s in enumerate(text.split("\n"), 1) if s.strip()]
    if not lines:
        raise UserError(
            f"{file}:1: expected an image name, received an empty file. Fetch or write it again."
        )
    return lines


def _read_entry(lines: Sequence[_Line], at: int) -> tuple[AnnotatedImage, int]:
    """Reads the entry that starts at `lines[at]`; returns it and where the next one starts."""
    name = _image_name(lines[at])
    if at + 1 == len(lines):
        raise lines[at].error(
            "the number of faces after this name, but the file ends", "Complete the file."
        )
    count = _face_count(lines[at + 1])
    start, end = at + 2, at + 2 + count
    if end > len(lines):
        raise lines[-1].error(
            f"{count} face rows for {name}, but the file ends after {len(lines) - start}",
            "Fix the count or complete the file.",
        )
    faces = [_face_row(line) for line in lines[start:end]]
    image = annotated(
        name,
        faces,
        given=ATTRIBUTES if any(len(face) > _BOX_COLUMNS for face in faces) else (),
        file=f"{lines[at].file}:",
        rows=[line.number for line in lines[start:end]],
    )
    if count == 0 and end < len(lines) and _is_zero_row(lines[end]):
        end += 1
    return image, end


def _image_name(line: _Line) -> str:
    if all(_is_number(token) for token in line.text.split()):
        raise line.error(
            "an image name", "Fix the number of faces of the entry above: it has more rows."
        )
    return check_name(line.text, f"{line.file}:{line.number}")


def _face_count(line: _Line) -> int:
    if not (line.text.isascii() and line.text.isdigit() and int(line.text[:12]) < _LARGEST):
        raise line.error(
            "the number of faces (a whole number from 0) after the image name", "Fix the entry."
        )
    return int(line.text)


def _face_row(line: _Line) -> list[float]:
    """Returns the row's four or ten numbers."""
    tokens = line.text.split()
    columns = f"{_BOX_COLUMNS} (x y w h) or {_ALL_COLUMNS} (x y w h {' '.join(ATTRIBUTES)})"
    if not any(map(_is_number, tokens)) and (len(tokens) == 1 or "/" in line.text):
        raise line.error(
            "a face row, but this looks like an image name",
            "Fix the number of faces of the entry above: it has fewer rows.",
        )
    if len(tokens) not in (_BOX_COLUMNS, _ALL_COLUMNS):
        raise line.error(f"{columns} columns, not {len(tokens)}", "Fix the row.")
    if not all(_is_number(token) for token in tokens):
        raise line.error(f"a face row of numbers, {columns}", "Fix the row.")
    row = [float(token) for token in tokens]
    if not all(abs(value) < _LARGEST for value in row):  # NaN fails it too.
        raise line.error(f"finite numbers below {_LARGEST:g}", "Fix the row.")
    if not all(value.is_integer() for value in row[_BOX_COLUMNS:]):
        raise line.error("whole numbers as attributes", f"The columns are {columns}.")
    return row


def _is_zero_row(line: _Line) -> bool:
    tokens = line.text.split()
    return len(tokens) in (_BOX_COLUMNS, _ALL_COLUMNS) and all(
        _is_number(token) and float(token) == 0 for token in tokens
    )


def _is_number(token: str) -> bool:
    # Python reads "1_2" as 12, but here it is a name.
    if "_" in token:
        return False
    try:
        float(token)
    except ValueError:
        return False
    return True


def _format_entry(image: AnnotatedImage) -> str:
    rows = [
        " ".join([*map(_format_number, box), *map(str, attributes)])
        for box, attributes in zip(
            image.boxes.astype(np.float32), image.attributes.tolist(), strict=True
        )
    ]
    return f"{image.name}\n{len(rows)}\n" + "".join(f"{row} \n" for row in rows or [_ZERO_ROW])


def _format_number(value: np.float32) -> str:
    # Adding 0 turns -0 into 0. The shortest digits that read back as the same float32.
    return np.format_float_positional(value + np.float32(0), trim="-")
