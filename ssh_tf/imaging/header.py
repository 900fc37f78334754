"""What the head of an image file states, without decoding it and without TensorFlow.

`imaging/parts.py` and `imaging/orientation.py` follow the same rules inside a graph.
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
# So many JPEG segments or PNG chunks are looked at: a file can hold millions.
MAX_PARTS = 1000

# Start-of-frame markers: C0 to CF without DHT, JPG and DAC.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Markers that have no length: a stuffed zero, TEM, RST0 to RST7, SOI.
BARE_MARKERS = frozenset({0x00, 0x01, *range(0xD0, 0xD9)})
# EOI and SOS: what follows is not a header any more.
LAST_MARKERS = frozenset({0xD9, 0xDA})
APP1, START_OF_SCAN = 0xE1, 0xDA

# Chunks of a PNG that libpng inflates although nobody asked for them: each to at most 8 MB. A byte
# inflates to at most 1,032.
TEXT_CHUNKS = (b"zTXt", b"iTXt")
INFLATION, INFLATION_LIMIT = 1032, 8_000_000
# All together may take as long as half a second. A text of 60 kB in each of eight chunks may pass.
MAX_INFLATED_TEXT = 64_000_000
# Encoders write chunks of at least some kilobytes; a file of millions of small ones is an attack.
SMALL_CHUNK = 512


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


def inflated_text(data: bytes) -> int:
    """Returns the most bytes that the compressed texts of a PNG can grow to when it is decoded.

    Args:
        data: The bytes of a PNG. More chunks than any encoder writes count as texts without end.
    """
    most = MAX_PARTS + len(data) // SMALL_CHUNK
    chunks = list(islice(_png_chunks(data), most + 1))
    if len(chunks) > most:
        return 2**40
    texts = [length for kind, _, length in chunks if kind in TEXT_CHUNKS]
    return sum(min(INFLATION * length, INFLATION_LIMIT) for length in texts)


def scan_start(data: bytes) -> int:
    """Returns the position of a JPEG's first scan; 0 if none of the first `MAX_PARTS` is one."""
    return next((at for marker, at in _jpeg_parts(data) if marker == START_OF_SCAN), 0)


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
    for marker, at in _jpeg_parts(data):
        if marker == APP1 and data.startswith(EXIF_PREFIX, at + 4):
            (length,) = struct.unpack_from(">H", data, at + 2)
            return data[at + 4 : at + 2 + length]
    return b""


def _jpeg_parts(data: bytes) -> Iterator[tuple[int, int]]:
    """Yields `(marker, position)` of each part of a JPEG's header, at most `MAX_PARTS`.

    Decoders skip what stands between two segments. Each such byte is a part of its own, marker 0.
    """
    at = 2 if data.startswith(JPEG_START) else len(data)
    for _ in range(MAX_PARTS):
        if at + 4 > len(data):
            return
        prefix, marker, length = struct.unpack_from(">BBH", data, at)
        if prefix != 0xFF or marker == 0xFF:  # Stray or fill byte.
            marker, step = 0, 1
        elif marker in BARE_MARKERS:
            step = 2
        elif marker in LAST_MARKERS:
            step = len(data)
        else:
            step = 2 + length
        yield marker, at
        at += step


def _png_exif(data: bytes) -> bytes:
    for kind, at, length in islice(_png_chunks(data), MAX_PARTS):
        if kind == b"eXIf":
            return data[at + 8 : at + 8 + length]
    return b""


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yields `(kind, position, length of the data)` of each chunk."""
    at = len(PNG_SIGNATURE)
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        yield kind, at, length
        at += 12 + length  # Length, kind, data, checksum.
