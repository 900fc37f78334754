"""Training squares drawn on the accelerator, for `benchmarks/train_jax.py`.

Photos lie on the device; each square is four quarters, of one photo or of four, each scaled so that
one of its faces gets a side drawn log-uniformly (PyramidBox, arXiv:1803.07737, 3.3).
"""

import dataclasses
from pathlib import Path
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from ssh_tf.data.readers.wider import find_split, read_annotations

Array = Any

FACES = 128  # rows per square
LARGEST_PX = 1024
# Shares of the squares: of four photos, of a whole photo.
MOSAIC, WHOLE = 0.3, 0.2
# Side of the drawn face, network px; largest factor by which a photo is enlarged.
FACE_PX = (8.0, 320.0)
ENLARGED = 3.0


@dataclasses.dataclass(frozen=True)
class Photos:
    """All photos, on the device.

    Attributes:
        pixels: `[N, 1024, 1024, 3]` uint8 RGB, each in the upper left.
        sizes: `[N, 2]` float32, height and width, px.
        faces: `[N, F, 4]` float32 official corners, px; rows of -1 are padding.
    """

    pixels: Array
    sizes: Array
    faces: Array


def read_photos(roots: list[str]) -> Photos:
    """Reads the training split of folders in WIDER's layout."""
    pixels, sizes, faces = [], [], []
    for root in roots:
        layout = find_split(Path(root), "train")
        for entry in read_annotations(layout.annotations):
            image = cv2.imread(str(layout.images_dir / entry.name), cv2.IMREAD_COLOR)
            factor = min(1.0, LARGEST_PX / max(image.shape[:2]))
            if factor < 1:
                image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
            height, width = image.shape[:2]
            canvas = np.zeros((LARGEST_PX, LARGEST_PX, 3), np.uint8)
            canvas[:height, :width] = image[..., ::-1]
            x, y, w, h = entry.boxes.reshape(-1, 4).T * factor
            boxes = np.stack([x, y, x + w, y + h], axis=-1)
            pixels.append(canvas)
            sizes.append((height, width))
            faces.append(boxes[(w >= 1) & (h >= 1)])
    most = max(map(len, faces))
    table = np.full((len(faces), most, 4), -1.0, np.float32)
    for row, boxes in zip(table, faces, strict=True):
        row[: len(boxes)] = boxes
    return Photos(
        jax.device_put(np.stack(pixels)),
        jax.device_put(np.array(sizes, np.float32)),
        jax.device_put(table),
    )


def draw_view(key: Array, photos: Photos, index: Array, side: float) -> Array:
    """Draws how one photo is seen through a window: `(scale, top, left)`, window px."""
    keys = jax.random.split(key, 6)
    faces, size = photos.faces[index], photos.sizes[index]  # [F, 4], [2]
    real = jnp.any(faces != -1.0, axis=-1)
    chosen = faces[jax.random.categorical(keys[0], jnp.where(real, 0.0, -1e9))]
    width, height = chosen[2] - chosen[0], chosen[3] - chosen[1]
    low, high = jnp.log(jnp.array(FACE_PX))
    target = jnp.exp(jax.random.uniform(keys[1], minval=low, maxval=high))
    by_face = jnp.minimum(target, 0.8 * side) / jnp.sqrt(jnp.maximum(width * height, 1.0))
    by_chance = jnp.exp(jax.random.uniform(keys[1], minval=jnp.log(0.4), maxval=jnp.log(2.0)))
    whole = side / jnp.max(size) * jax.random.uniform(keys[2], minval=0.6, maxval=1.1)
    scale = jnp.where(jnp.any(real), by_face, by_chance)
    scale = jnp.clip(scale, 0.6 * side / jnp.max(size), ENLARGED)
    scale = jnp.where(jax.random.uniform(keys[3]) < WHOLE, whole, scale)
    center = jnp.stack([(chosen[1] + chosen[3]) / 2, (chosen[0] + chosen[2]) / 2]) * scale
    at = jax.random.uniform(keys[4], (2,), minval=0.1, maxval=0.9) * side
    anywhere = jax.random.uniform(keys[5], (2,)) * (size * scale - side)
    corner = jnp.where(jnp.any(real), center - at, anywhere)
    room = size * scale - side
    corner = jnp.clip(corner, jnp.minimum(room, 0.0), jnp.maximum(room, 0.0))
    return jnp.concatenate([scale[None], corner])


def quarter(photos: Photos, index: Array, view: Array, side: int) -> Array:
    """Returns what a window of `side` px shows of a photo: `[side, side, 3]`, the mean beyond."""
    scale, top, left = view
    pixels = jax.image.scale_and_translate(
        photos.pixels[index].astype(jnp.float32),
        (side, side, 3),
        (0, 1),
        jnp.stack([scale, scale]),
        jnp.stack([-top, -left]),
        "linear",
        antialias=False,
    )
    height, width = photos.sizes[index] * scale
    rows = (jnp.arange(side) + 0.5 + top)[:, None]
    columns = (jnp.arange(side) + 0.5 + left)[None]
    inside = (rows > 0) & (rows < height) & (columns > 0) & (columns < width)
    return jnp.where(inside[..., None], pixels, jnp.array([123.0, 117.0, 104.0]))


def seen_faces(photos: Photos, index: Array, view: Array, side: float) -> Array:
    """Returns a photo's faces in window px, `[F, 4]`; rows of -1 where the center is outside."""
    scale, top, left = view
    faces = photos.faces[index]
    moved = faces * scale - jnp.stack([left, top, left, top])
    center = (moved[:, :2] + moved[:, 2:]) / 2
    cut = jnp.clip(moved, 0.0, side)
    kept = jnp.all((center >= 0) & (center < side), axis=-1) & jnp.any(faces != -1.0, axis=-1)
    kept &= jnp.max(cut[:, 2:] - cut[:, :2], axis=-1) >= 5.0
    return jnp.where(kept[:, None], cut, -1.0)


def square(key: Array, photos: Photos, weights: Array, side: int) -> tuple[Array, Array]:
    """Draws one training example: `[side, side, 3]` in `[0, 255]` and `[FACES, 4]`."""
    keys = jax.random.split(key, 8)
    half = side // 2
    corners = half * jnp.array([[0, 0], [0, 1], [1, 0], [1, 1]], jnp.float32)
    mosaic = jax.random.uniform(keys[0]) < MOSAIC
    indices = jax.random.categorical(keys[1], weights, shape=(4,))
    indices = jnp.where(mosaic, indices, indices[0])
    single = draw_view(keys[2], photos, indices[0], side)
    views = jax.vmap(lambda k, i: draw_view(k, photos, i, half))(
        jax.random.split(keys[3], 4), indices
    )
    shifted = single + jnp.pad(corners, [[0, 0], [1, 0]])
    views = jnp.where(mosaic, views, shifted)
    quarters = jnp.stack([quarter(photos, indices[i], views[i], half) for i in range(4)])
    image = quarters.reshape(2, 2, half, half, 3).transpose(0, 2, 1, 3, 4).reshape(side, side, 3)
    own = jax.vmap(lambda i, v: seen_faces(photos, i, v, half))(indices, views)  # [4, F, 4]
    own = jnp.where(own != -1.0, own + jnp.tile(corners[:, None, ::-1], (1, 1, 2)), -1.0)
    whole = seen_faces(photos, indices[0], single, side)  # [F, 4]
    whole = jnp.pad(whole, [[0, 3 * len(whole)], [0, 0]], constant_values=-1.0)
    faces = jnp.where(mosaic, own.reshape(-1, 4), whole)
    order = jnp.argsort(~jnp.any(faces != -1.0, axis=-1))  # stable: real ones first
    faces = jnp.pad(faces[order], [[0, FACES], [0, 0]], constant_values=-1.0)[:FACES]
    image = occlude(keys[4], image, faces)
    flipped = jnp.stack([side - faces[:, 2], faces[:, 1], side - faces[:, 0], faces[:, 3]], axis=-1)
    flipped = jnp.where(jnp.any(faces != -1.0, axis=-1)[:, None], flipped, -1.0)
    mirror = jax.random.uniform(keys[5]) < 0.5
    image = jnp.where(mirror, image[:, ::-1], image)
    return degrade(keys[6], color(keys[7], image)), jnp.where(mirror, flipped, faces)


def occlude(key: Array, image: Array, faces: Array) -> Array:
    """Covers a part of up to four faces with a plain color, in a third of the squares."""
    side = image.shape[0]
    rows, columns = jnp.arange(side)[:, None], jnp.arange(side)[None]
    for own in jax.random.split(key, 4):
        keys = jax.random.split(own, 4)
        real = jnp.any(faces != -1.0, axis=-1)
        face = faces[jax.random.categorical(keys[0], jnp.where(real, 0.0, -1e9))]
        extent = face[2:] - face[:2]
        start = face[:2] + extent * jax.random.uniform(keys[1], (2,), minval=-0.3, maxval=0.7)
        end = start + extent * jax.random.uniform(keys[2], (2,), minval=0.2, maxval=0.6)
        covered = (columns >= start[0]) & (columns < end[0]) & (rows >= start[1]) & (rows < end[1])
        covered &= (jax.random.uniform(keys[3]) < 0.15) & jnp.any(real)
        image = jnp.where(covered[..., None], 255 * jax.random.uniform(keys[0], (3,)), image)
    return image


def color(key: Array, image: Array) -> Array:
    """Changes brightness, contrast, saturation, hue; a tenth of the squares is gray."""
    keys = jax.random.split(key, 7)
    apply = jax.random.uniform(keys[0], (4,)) < 0.5
    uniform = jax.random.uniform
    image = image + jnp.where(apply[0], uniform(keys[1], minval=-32.0, maxval=32.0), 0.0)
    factor = jnp.where(apply[1], uniform(keys[2], minval=0.6, maxval=1.5), 1.0)
    image = (image - image.mean()) * factor + image.mean()
    gray = image @ jnp.array([0.299, 0.587, 0.114])
    factor = jnp.where(apply[2], uniform(keys[3], minval=0.5, maxval=1.5), 1.0)
    factor = jnp.where(uniform(keys[4]) < 0.1, 0.0, factor)
    image = gray[..., None] + (image - gray[..., None]) * factor
    gains = uniform(keys[5], (3,), minval=0.85, maxval=1.15)
    return jnp.clip(image * jnp.where(apply[3], gains, 1.0), 0.0, 255.0)


def degrade(key: Array, image: Array) -> Array:
    """Blurs a fifth of the squares; adds noise to a tenth."""
    keys = jax.random.split(key, 4)
    sigma = jax.random.uniform(keys[0], minval=0.4, maxval=2.0)
    taps = jnp.exp(-0.5 * (jnp.arange(-3, 4) / sigma) ** 2)
    taps = taps / taps.sum()
    blurred = jnp.pad(image, [[3, 3], [3, 3], [0, 0]], mode="edge")
    blurred = sum(taps[i] * blurred[i : i + image.shape[0]] for i in range(7))
    blurred = sum(taps[i] * blurred[:, i : i + image.shape[1]] for i in range(7))
    image = jnp.where(jax.random.uniform(keys[1]) < 0.2, blurred, image)
    noise = jax.random.normal(keys[2], image.shape) * 8.0
    image = image + jnp.where(jax.random.uniform(keys[3]) < 0.1, noise, 0.0)
    return jnp.clip(image, 0.0, 255.0)
