"""Kinds of hostile and mistaken requests, for `benchmarks/serving.py`."""

import base64
import gzip
import json
import struct
import zlib

import cv2
import numpy as np

PREDICT = "/v1/models/ssh:predict"


def images() -> dict[str, bytes]:
    """Returns files that are not the picture that they should be, by the kind of damage."""
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    jpeg, png, bmp, webp = (
        cv2.imencode(suffix, pixels)[1].tobytes() for suffix in (".jpg", ".png", ".bmp", ".webp")
    )
    frame = jpeg.index(b"\xff\xc0")
    return {
        "empty": b"",
        "one byte": b"\xff",
        "zeros": bytes(1000),
        "text": b"no picture",
        "html": b"<html><script>alert(1)</script></html>",
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "pdf": b"%PDF-1.7\n",
        "program": b"\x7fELF" + bytes(500),
        "zip": b"PK\x03\x04" + bytes(500),
        "gif": b"GIF89a\x01\x00\x01\x00\x80\x00\x00" + bytes(30),
        "gif of 4 gigapixels": b"GIF89a\xff\xff\xff\xff\x80\x00\x00" + bytes(30),
        "bmp": bmp,
        "bmp of 4 gigapixels": bmp[:18] + struct.pack("<ii", 65535, 65535) + bmp[26:],
        "webp": webp,
        "tiff": b"II*\x00\x08\x00\x00\x00" + bytes(50),
        "jpeg, head only": jpeg[:2],
        "jpeg, half": jpeg[: len(jpeg) // 2],
        "jpeg, without end": jpeg[:-300],
        "jpeg of 4 gigapixels": jpeg[: frame + 5] + b"\xff\xff\xff\xff" + jpeg[frame + 9 :],
        "jpeg of no pixels": jpeg[: frame + 5] + bytes(4) + jpeg[frame + 9 :],
        "jpeg with a bad table": jpeg.replace(b"\xff\xdb\x00\x43", b"\xff\xdb\xff\xff", 1),
        "png, head only": png[:8],
        "png, half": png[: len(png) // 2],
        "png with a bad checksum": png[:29] + bytes(4) + png[33:],
        "png of 900 megapixels": png_bomb(30_000, 30_000),
        "png of 4 exapixels": png_bomb(2**31 - 1, 2**31 - 1),
        "png of no pixels": png_bomb(0, 10),
        "png with half its rows": png_bomb(100, 100, rows=50),
    }


def png_bomb(width: int, height: int, rows: int = 1) -> bytes:
    """Returns a PNG that claims a size and holds some black rows."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes((1 + 3 * min(width, 30_000)) * rows))
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", data), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def bodies() -> dict[str, tuple[bytes, dict[str, str]]]:
    """Returns HTTP bodies, with their headers, that are no proper request."""
    gzipped = {"Content-Encoding": "gzip"}
    good = base64.b64encode(b"x").decode()
    values = {
        "not an object": [1],
        "neither inputs nor instances": {},
        "both inputs and instances": {"inputs": [""], "instances": [""]},
        "instances are a number": {"instances": 7},
        "no instances": {"instances": []},
        "numbers for bytes": {"instances": [1, 2, 3]},
        "no base64": {"instances": [{"b64": "%%%"}]},
        "half a base64": {"instances": [{"b64": good[:-1]}]},
        "other input": {"instances": [{"pixels": 1}]},
        "other signature": {"signature_name": "admin", "instances": [{"b64": good}]},
        "signature is a list": {"signature_name": ["x"], "instances": [{"b64": good}]},
        "nested images": {"instances": [[{"b64": good}]]},
        "ragged pixels": {"signature_name": "image_tensor", "instances": [[[[1, 2, 3]]], [[1]]]},
        "pixels out of range": {"signature_name": "image_tensor", "instances": [[[[1, 2, 999]]]]},
        "100,000 images": {"instances": [""] * 100_000},
    }
    return {
        **{name: (json.dumps(value).encode(), {}) for name, value in values.items()},
        "no JSON": (b"{'a': 1}", {}),
        "half a JSON": (b'{"instances": [', {}),
        "no UTF-8": (b"\xff\xfe\x00", {}),
        "NaN": (b'{"instances": [NaN]}', {}),
        "a number of 100,000 digits": (b'{"instances": [' + b"9" * 100_000 + b"]}", {}),
        "1,000,000 brackets": (b"[" * 1_000_000, {}),
        "larger than the limit": (b" " * (45 * 2**20), {}),
        "gzip bomb": (gzip.compress(bytes(500 * 2**20), 9), gzipped),
        "gzip bomb in a gzip bomb": (gzip.compress(gzip.compress(bytes(2**28))), gzipped),
        "no gzip": (b"x", gzipped),
        "unknown encoding": (b"x", {"Content-Encoding": "zstd"}),
    }


def streams() -> dict[str, bytes]:
    """Returns what is sent on a bare connection, which then stays open and silent."""
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\n".encode()
    return {
        "nothing at all": b"",
        "half a request line": b"POST /v1/mod",
        "half a head": head,
        "no body": head + b"Content-Length: 1000\r\n\r\n",
        "half a body": head + b'Content-Length: 1000\r\n\r\n{"instances',
        "half a chunk": head + b"Transfer-Encoding: chunked\r\n\r\nff\r\nabc",
        "negative length": head + b"Content-Length: -5\r\n\r\n",
        "two lengths": head + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
        "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    }
