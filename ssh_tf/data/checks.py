"""What an image has to be before it enters a data set."""

from dataclasses import dataclass
from typing import Literal

import tensorflow as tf

from ssh_tf.errors import UserError
from ssh_tf.imaging.decoder import decode_bytes, header_size
from ssh_tf.imaging.header import PNG_SIGNATURE

Verify = Literal["none", "header", "full"]
OnError = Literal["fail", "skip"]


@dataclass(frozen=True)
class Checks:
    """What happens to images before they are stored.

    Attributes:
        verify: `full` decodes every image to prove that it is whole; `header` reads its header and
            looks for its end; `none` reads the header alone, which has the size.
        on_error: What a broken or missing image does: `fail` stops the build, `skip` leaves it out
            and names it in the manifest.
    """

    verify: Verify = "full"
    on_error: OnError = "fail"


FULL_CHECKS = Checks()


def image_size(encoded: bytes, path: str, *, verify: Verify = "full") -> tuple[int, int]:
    """Checks an image and returns its size.

    Args:
        encoded: The file's bytes.
        path: Its name, for the error.
        verify: See `Checks`.

    Returns:
        Height and width, px.

    Raises:
        UserError: If the bytes are not a JPEG or PNG, or not a whole one as far as `verify` looks.
    """
    jpeg = encoded[:2] == b"\xff\xd8"
    if not jpeg and encoded[:8] != PNG_SIGNATURE:
        raise UserError(f"{path} is neither JPEG nor PNG (it begins with {encoded[:8]!r}).")
    # Some cameras write more after a JPEG's end.
    if verify == "header" and (b"\xff\xd9" if jpeg else b"IEND") not in encoded[-4096:]:
        raise UserError(f"{path} is truncated (it has no end marker). Fetch it again.")
    try:
        size = decode_bytes(encoded).shape[:2] if verify == "full" else header_size(encoded)
    except tf.errors.OpError as error:
        # Without the names of the operation that TensorFlow puts around it.
        reason = error.message.split("}} ")[-1].split(" [Op:")[0].split("\n")[0]
        raise UserError(f"{path} is truncated or corrupt ({reason}). Fetch it again.") from error
    height, width = int(size[0]), int(size[1])
    if min(height, width) < 1:
        raise UserError(f"{path} is corrupt (its header says {width} x {height} px).")
    return height, width
