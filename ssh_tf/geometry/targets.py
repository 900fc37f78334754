"""Which anchors are trained and towards what: matching, labels, hard mining.

Everything is batched: B images, N anchors, M faces (padded). No gradient flows through here.

References:
    `SSH/layers/anchor_target_layer.py`; paper sections 3.4 and 3.5.
"""

from typing import Any

from keras import ops

from ssh_tf.geometry.anchors import BASE_PX
from ssh_tf.geometry.boxes import pairwise_iou
from ssh_tf.geometry.checks import check, check_shapes

Tensor = Any

IGNORE, NEGATIVE, POSITIVE = -1, 0, 1

# Rows that fill up a list of faces: no face has four corners at -1.
FACE_PADDING = -1.0
# Faces that `match` compares with all anchors at once: bounds memory, whatever their number. As it
# adds at least one row of padding, lists of a multiple of this less one need no other.
FACE_ROWS = 32


def trainable_anchors(anchors: Tensor, sizes: Tensor, *, allowed_border: int) -> Tensor:
    """Tells which anchors of a canvas may be trained for each image on it.

    An anchor counts if its cell belongs to the image (not to the canvas' padding) and it crosses
    the image border by at most `allowed_border` px. If no anchor of an image satisfies the second
    rule, all that satisfy the first do, as in the official code.

    Args:
        anchors: `[N, 4]` float32, half-open, network px.
        sizes: `[B, 2]` int, height and width of each image on the canvas, px.
        allowed_border: px.

    Returns:
        `[B, N]` bool.

    Raises:
        ValueError: For other shapes.
    """
    check_shapes(anchors=(anchors, "N 4"), sizes=(sizes, "B 2"))
    size = ops.expand_dims(ops.cast(sizes, anchors.dtype), 1)  # [B, 1, 2] height, width
    width_height = ops.flip(size, axis=-1)  # [B, 1, 2]
    cell = 0.5 * (anchors[:, :2] + anchors[:, 2:]) - 0.5 * BASE_PX  # [N, 2] x, y of the cell
    exists = ops.all(cell < width_height, axis=-1)  # [B, N]
    starts = ops.all(anchors[:, :2] >= -allowed_border, axis=-1)  # [N]
    ends = ops.all(anchors[:, 2:] - 1.0 < width_height + allowed_border, axis=-1)  # [B, N]
    inside = exists & starts & ends
    return ops.where(ops.any(inside, axis=-1, keepdims=True), inside, exists)


def match(anchors: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
    """Finds each anchor's best face.

    Args:
        anchors: `[N, 4]` float32, half-open, px.
        faces: `[B, M, 4]` float32, half-open, px. Rows of zeros are padding. `M` may be 0.

    Returns:
        `(iou, face)`: `[B, N]` float32 in `[0, 1]`, the IoU with the best face, and `[B, N, 4]`,
        that face; the first one of equals.

    Raises:
        ValueError: For other shapes.
    """
    check_shapes(anchors=(anchors, "N 4"), faces=(faces, "B M 4"))
    batch, count = ops.shape(faces)[0], ops.shape(faces)[1]
    chunks = count // FACE_ROWS + 1  # at least one padding row, so that no face at all is normal
    faces = ops.pad(faces, [[0, 0], [0, chunks * FACE_ROWS - count], [0, 0]])

    def compare(i: Tensor, best: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        best_iou, best_index = best
        chunk = ops.slice(faces, (0, i * FACE_ROWS, 0), (batch, FACE_ROWS, 4))
        iou = pairwise_iou(anchors, chunk)  # [B, N, chunk]
        index = ops.cast(ops.argmax(iou, axis=-1), "int32") + i * FACE_ROWS
        iou = ops.max(iou, axis=-1)
        better = iou > best_iou  # strictly: the first of equals stays
        return ops.where(better, iou, best_iou), ops.where(better, index, best_index)

    shape = (batch, ops.shape(anchors)[0])
    start = (ops.full(shape, -1.0, dtype="float32"), ops.zeros(shape, dtype="int32"))
    iou, index = ops.fori_loop(0, chunks, compare, start)
    return iou, ops.take_along_axis(faces, ops.expand_dims(index, -1), axis=1)


def label_anchors(
    iou: Tensor,
    trainable: Tensor,
    *,
    positive_iou: float,
    positive_inclusive: bool,
    negative_iou: float,
) -> Tensor:
    """Labels anchors by their best IoU.

    Args:
        iou: `[B, N]` float32.
        trainable: `[B, N]` bool, from `trainable_anchors`.
        positive_iou: Anchors from here on are positive.
        positive_inclusive: Whether equality is positive.
        negative_iou: Anchors below are negative. What lies between is ignored.

    Returns:
        `[B, N]` int32: `POSITIVE`, `NEGATIVE` or `IGNORE`.

    Raises:
        ValueError: For other shapes, or if an anchor could be both positive and negative.
    """
    check_shapes(iou=(iou, "B N"), trainable=(trainable, "B N"))
    limits = (negative_iou, positive_iou)
    check(negative_iou <= positive_iou, "`negative_iou` must not exceed `positive_iou`", limits)
    labels = ops.where(iou < negative_iou, NEGATIVE, IGNORE)
    positive = iou >= positive_iou if positive_inclusive else iou > positive_iou
    labels = ops.where(positive, POSITIVE, labels)
    return ops.cast(ops.where(trainable, labels, IGNORE), "int32")


def mine(
    labels: Tensor, face_probability: Tensor, *, samples: int, positive_fraction: float
) -> Tensor:
    """Keeps the hardest anchors of each image and ignores the rest (OHEM, paper 3.5).

    Positives: at most `samples * positive_fraction`, those of the lowest face probability.
    Negatives: as many as are missing to `samples`, those of the highest.

    Args:
        labels: `[B, N]` int32, from `label_anchors`.
        face_probability: `[B, N]` float32, the network's current opinion.
        samples: Anchors to keep per image.
        positive_fraction: Cap of the positives' share.

    Returns:
        `[B, N]` int32 labels.

    Raises:
        ValueError: For other shapes or ranges.
    """
    check_shapes(labels=(labels, "B N"), face_probability=(face_probability, "B N"))
    check(samples > 0, "`samples` must be positive", samples)
    share = positive_fraction
    check(0 <= share <= 1, "`positive_fraction` must be within 0 and 1", share)
    positives = _hardest(labels == POSITIVE, -face_probability, int(samples * positive_fraction))
    missing = samples - ops.sum(ops.cast(positives, "int32"), axis=-1, keepdims=True)  # [B, 1]
    negatives = _hardest(labels == NEGATIVE, face_probability, samples, limit=missing)
    labels = ops.where(negatives, NEGATIVE, IGNORE)
    return ops.cast(ops.where(positives, POSITIVE, labels), "int32")


def random_ranks(probability: Tensor) -> Tensor:
    """Returns numbers without relation to hardness, for `mine` to sample by.

    A hash of each anchor's place and probability: other numbers at every step of a training, the
    same ones when a stopped training continues, and no state to keep.

    Args:
        probability: `[B, N]` float32 in `[0, 1]`.

    Returns:
        `[B, N]` float32 in `[0, 1)`.

    Raises:
        ValueError: For another shape.
    """
    check_shapes(probability=(probability, "B N"))
    place = ops.cast(ops.arange(ops.shape(probability)[1]), "float32")
    waves = ops.sin(probability * 1298.98 + place * 0.7548777) * 437.585
    return waves - ops.floor(waves)


def _hardest(
    candidates: Tensor, hardness: Tensor, count: int, *, limit: Tensor | None = None
) -> Tensor:
    """Marks the `count` hardest candidates (fewer under `limit` `[B, 1]`): `[B, N]` bool."""
    batch, anchors = ops.shape(candidates)[0], ops.shape(candidates)[1]
    # -2 lies below every hardness in [-1, 1]; the padding lets an image have fewer anchors than k.
    ranked = ops.where(candidates, hardness, -2.0)
    ranked = ops.pad(ranked, [[0, 0], [0, count]], constant_values=-2.0)
    value, index = ops.top_k(ranked, count)  # [B, count]
    kept = value > -2.0
    if limit is not None:
        kept = kept & (ops.arange(count, dtype="int32") < limit)
    rows = ops.repeat(ops.arange(batch, dtype="int32"), count)
    places = ops.stack([rows, ops.reshape(ops.cast(index, "int32"), (-1,))], axis=-1)
    marks = ops.scatter(
        places, ops.reshape(ops.cast(kept, "int32"), (-1,)), (batch, anchors + count)
    )
    return marks[:, :anchors] > 0
