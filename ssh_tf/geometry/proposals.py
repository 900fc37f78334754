"""From one module's outputs to its best boxes (`SSH/layers/proposal_layer.py`, TEST phase)."""

from typing import Any

from keras import ops

from ssh_tf.geometry.boxes import clip, decode, exclude_last_pixel
from ssh_tf.geometry.checks import check, check_shapes

Tensor = Any


def face_probability(logits: Tensor) -> Tensor:
    """Returns the softmax probability of the face class.

    Args:
        logits: `[..., 2]` background, face.

    Returns:
        `[...]` float32 in `[0, 1]`.

    Raises:
        ValueError: For another shape.
    """
    check_shapes(logits=(logits, "... 2"))
    return ops.softmax(ops.cast(logits, "float32"), axis=-1)[..., 1]


def propose(
    scores: Tensor,
    deltas: Tensor,
    anchors: Tensor,
    *,
    size: Tensor,
    top_k: int,
    exact_decode: bool = False,
) -> tuple[Tensor, Tensor]:
    """Keeps a module's best boxes for one image. There is no NMS and no minimum size here.

    Args:
        scores: `[N]` float32 face probabilities.
        deltas: `[N, 4]` float32.
        anchors: `[N, 4]` float32, half-open, network px.
        size: `(height, width)` of the network input, px; boxes are clipped to it.
        top_k: Most boxes to keep.
        exact_decode: See `DetectConfig.exact_decode`.

    Returns:
        `(boxes, scores)`: `[K, 4]` inclusive corners in network px and `[K]`, best first,
        `K = min(top_k, N)`.

    Raises:
        ValueError: For other shapes, or if `top_k` is not positive.
    """
    check_shapes(scores=(scores, "N"), deltas=(deltas, "N 4"), anchors=(anchors, "N 4"))
    check(top_k > 0, "`top_k` must be positive", top_k)
    count = ops.shape(scores)[0]
    # -1 lies below every score; the padding lets a map have fewer anchors than `top_k`.
    scores, index = ops.top_k(ops.pad(scores, [[0, top_k]], constant_values=-1.0), top_k)
    scores, index = scores[:count], index[:count]
    # Decoding only what is kept gives the same boxes as the official order: decode, clip, sort.
    boxes = decode(ops.take(deltas, index, axis=0), ops.take(anchors, index, axis=0))
    if exact_decode:
        boxes = exclude_last_pixel(boxes)
    return clip(boxes, size[0], size[1]), scores
