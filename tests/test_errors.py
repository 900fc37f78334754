"""Tests of what is said about the operating system's errors."""

import errno
import os

import pytest

from ssh_tf.errors import explain


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "a"), r"^a: No space .*device\. Free"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "a"), r"^a: Disk quota exceeded\. Your quo"),
        (PermissionError(errno.EACCES, "Permission denied", b"a"), r"^a: Permission .*permissions"),
        (OSError(errno.EROFS, "Read-only file system", "a"), "file system that can be written to"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "a"), "Use a shorter name"),
        (OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
        (OSError(errno.EINVAL, "Invalid argument", "12:30"), "^12:30: Invalid argument. The file"),
        # What h5py and TensorFlow say: the cause is in the text.
        (OSError(f"write failed (errno = 28, '{os.strerror(28)}')"), "Free some space"),
        (RuntimeError(f"a.tmp; {os.strerror(errno.EACCES)}"), "Check the permissions"),
        (RuntimeError("odd\nlines"), r"^odd lines\.$"),
        (OSError(9999, "unheard of", "a"), r"^a: unheard of\.$"),
    ],
)
def test_an_error_is_explained_by_its_cause(error: Exception, says: str):
    with pytest.raises(RuntimeError, match=says):
        raise RuntimeError(explain(error))


def test_only_a_full_disk_or_quota_is_told_to_free_space():
    codes = [code for code in errno.errorcode if code not in (errno.ENOSPC, errno.EDQUOT)]
    assert not [
        code for code in codes if "Free some space" in explain(OSError(code, os.strerror(code)))
    ]
