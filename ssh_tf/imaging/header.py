"""What the head of an image file states, without decoding it and without TensorFlow.

`imaging/orientation.py` reads the orientation by the same rules inside a graph.
"""

import struct
from collections.abc import Iterator
from itertools import islice

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE = b"\xff\xd8\xff"
JPEG_START = JPEG_SIGNATURE[:2]

# EXIF's number for pixels that are stored as they are looked at.
UPRIGHT = 1
# Orientations from this one on are stored with rows and columns exchanged.
FIRST_TRANSPOSED = 5
ORIENTATION_TAG, SHORT = 0x0112, 3
EXIF_PREFIX = b"Exif\0\0"
# The orientation is looked for in so many JPEG segments or PNG chunks: a file can hold millions.
MAX_PARTS = 1000

# Start-of-frame markers: C0 to CF without DHT, JPG and DAC.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Markers that have no length: a stuffed zero, TEM, RST0 to RST7, SOI.
BARE_MARKERS = frozenset({0x00, 0x01, *range(0xD0, 0xD9)})
# EOI and SOS: what follows is not a header any more.
LAST_MARKERS = frozenset({0xD9, 0xDA})
APP1 = 0xE1


def stored_size(data: bytes) -> tuple[int, int] | None:
    """Returns `(height, width)` in px as stored, or `None` if no JPEG or PNG header states it.

    References:
        ITU-T T.81, B.1 and B.2; PNG, 11.2.2.
    """
    if data.startswith(PNG_SIGNATURE) and len(data) >= 24:
        width, height = struct.unpack_from(">II", data, 16)
        return height, width
    for marker, at in _jpeg_parts(data):
        if marker in _FRAMES and at + 9 <= len(data):
            height, width = struct.unpack_from(">HH", data, at + 5)
            return height, width
    return None


def upright_size(data: bytes) -> tuple[int, int] | None:
    """Returns `(height, width)` in px after the image is turned upright, or `None`."""
    size = stored_size(data)
    return size and turned_size(size, orientation(data))


def turned_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Returns `(height, width)` after the turn from an EXIF orientation to the upright image."""
    height, width = size
    return (width, height) if orientation >= FIRST_TRANSPOSED else (height, width)


def orientation(data: bytes) -> int:
    """Reads the EXIF orientation of a JPEG (APP1) or a PNG (eXIf).

    Returns:
        1 to 8; `UPRIGHT` where there is none, it is not valid, or the file is of another kind.
    """
    if data.startswith(PNG_SIGNATURE):
        return exif_orientation(_png_exif(data))
    return exif_orientation(_jpeg_exif(data))


def exif_orientation(exif: bytes) -> int:
    """Reads the orientation in the first directory of a block of EXIF.

    Args:
        exif: A TIFF header and what follows it, with or without `EXIF_PREFIX`; may be anything.

    Returns:
        1 to 8; `UPRIGHT` where there is none or it is not valid.

    References:
        CIPA DC-008 (Exif 2.3), 4.5.2 and 4.6.4; TIFF 6.0, section 2.
    """
    exif = exif.removeprefix(EXIF_PREFIX)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None or len(exif) < 8:
        return UPRIGHT
    (directory,) = struct.unpack_from(f"{order}I", exif, 4)
    if directory + 2 > len(exif):
        return UPRIGHT
    (entries,) = struct.unpack_from(f"{order}H", exif, directory)
    for at in range(directory + 2, min(directory + 2 + 12 * entries, len(exif) - 11), 12):
        tag, kind, count, value = struct.unpack_from(f"{order}HHIH", exif, at)
        if tag == ORIENTATION_TAG:
            valid = kind == SHORT and count == 1 and 1 <= value <= 8
            return value if valid else UPRIGHT
    return UPRIGHT


def _jpeg_exif(data: bytes) -> bytes:
    for marker, at in islice(_jpeg_parts(data), MAX_PARTS):
        if marker == APP1:
            (length,) = struct.unpack_from(">H", data, at + 2)
            payload = data[at + 4 : at + 2 + length]
            if payload.startswith(EXIF_PREFIX):
                return payload
    return b""


def _jpeg_parts(data: bytes) -> Iterator[tuple[int, int]]:
    """Yields `(marker, position)` of each part of a JPEG's header.

    Decoders skip what stands between two segments. Each such byte is a part of its own, marker 0.
    """
    at = 2 if data.startswith(JPEG_START) else len(data)
    while at + 4 <= len(data):
        prefix, marker, length = struct.unpack_from(">BBH", data, at)
        if prefix != 0xFF or marker == 0xFF:  # Stray or fill byte.
            marker, step = 0, 1
        elif marker in BARE_MARKERS:
            step = 2
        elif marker in LAST_MARKERS:
            return
        else:
            step = 2 + length
        yield marker, at
        at += step


def _png_exif(data: bytes) -> bytes:
    at = len(PNG_SIGNATURE)
    for _ in range(MAX_PARTS):
        if at + 8 > len(data):
            break
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"eXIf":
            return data[at + 8 : at + 8 + length]
        at += 12 + length  # Length, type, data, checksum.
    return b""
