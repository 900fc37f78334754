"""The image formats that Pillow decodes, and pictures that Pillow has opened."""

import io

import numpy as np
from PIL import Image

from ssh_tf.config import MAX_PIXELS
from ssh_tf.errors import UserError
from ssh_tf.imaging.header import UPRIGHT, exif_orientation
from ssh_tf.imaging.turn import upright as turn_upright

# Pillow knows more, but some of them start other programs.
_FORMATS = ("WEBP", "BMP", "TIFF", "GIF", "AVIF")
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"hevm", b"hevs", b"mif1", b"msf1")


def decode(encoded: bytes, name: str, *, upright: bool = True) -> np.ndarray:
    """Decodes a WebP, BMP, TIFF, GIF, AVIF or, with the `heic` extra, HEIC file.

    Of several pictures in a file the first is taken. TIFF and HEIC are turned by their decoders,
    whatever `upright` says.

    Args:
        encoded: The file's bytes.
        name: What to call it in messages.
        upright: Whether the pixels are turned as EXIF asks.

    Returns:
        As `pixels_of`.

    Raises:
        UserError: If it is not a whole image of these formats or larger than `config.MAX_PIXELS`.
    """
    heif = _is_heif(encoded) and _can_read_heif()
    formats = (*_FORMATS, "HEIF") if heif else _FORMATS
    try:
        image = Image.open(io.BytesIO(encoded), formats=formats)
    except Image.DecompressionBombError as error:
        raise UserError(f"{name} has more than {MAX_PIXELS:,} px. Scale it down.") from error
    except Exception as error:  # Pillow's readers raise what their parsers meet.
        raise UserError(_unknown(encoded, name)) from error
    with image:
        check_size(*image.size, name)
        return pixels_of(image, name, upright=upright)


def pixels_of(image: Image.Image, name: str = "The image", *, upright: bool = True) -> np.ndarray:
    """Returns the pixels of a Pillow image.

    Args:
        image: The image; it may still have to be decoded.
        name: What to call it in messages.
        upright: Whether the pixels are turned as EXIF asks.

    Returns:
        `[H, W, 3]` uint8 RGB. Gray is repeated; alpha and the low byte of 16 bits are dropped.

    Raises:
        UserError: If its data are damaged or end early, or its pixels have 32 bits.
    """
    try:
        image.load()
    except MemoryError as error:
        raise UserError(f"{name} needs more memory than there is.") from error
    except Exception as error:  # Pillow's decoders raise what they meet.
        reason = " ".join(str(error).split())
        raise UserError(f"{name} is not a whole image ({reason}).") from error
    if image.mode in ("I", "F"):
        raise UserError(f"{name} has pixels of 32 bits. Save it with 8 bits per channel.")
    if image.mode.startswith("I;16"):
        gray = np.asarray(image) >> 8
        pixels = np.repeat(gray[..., np.newaxis].astype(np.uint8), 3, axis=-1)
    else:
        # From a palette with transparency to RGB, Pillow warns: it would rather keep that.
        opaque = image.convert("RGBA") if image.mode in ("P", "PA") else image
        pixels = np.asarray(opaque.convert("RGB"))
    turn = exif_orientation(image.info.get("exif") or b"") if upright else UPRIGHT
    return turn_upright(pixels, turn)


def check_size(width: int, height: int, name: str) -> None:
    """Refuses an image of too many pixels before it is decoded.

    Raises:
        UserError: If it has more than `config.MAX_PIXELS`.
    """
    if width * height > MAX_PIXELS:
        size = f"{width} x {height} px, more than {MAX_PIXELS:,}"
        raise UserError(f"{name} has {size}. Scale it down.")


def _is_heif(encoded: bytes) -> bool:
    return encoded[4:8] == b"ftyp" and encoded[8:12] in _HEIF_BRANDS


def _can_read_heif() -> bool:
    """Registers the reader of HEIC, where it is installed."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def _unknown(encoded: bytes, name: str) -> str:
    if _is_heif(encoded) and not _can_read_heif():
        return f"{name} is a HEIC image. Install its reader: pip install 'ssh-tf[heic]'."
    return (
        f"{name} is not a whole image of a known format "
        "(JPEG, PNG, WebP, BMP, TIFF, GIF, AVIF, HEIC)."
    )
