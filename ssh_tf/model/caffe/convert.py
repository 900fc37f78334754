"""Hands the layers of a Caffe weight file to the Keras network.

Must not import TensorFlow or Keras: `expected` shapes come in and arrays go out.

This is the ONE place where the meaning of Caffe's channels is decided:

- `conv1_1` sees BGR pixels minus the mean in Caffe. Our network takes RGB pixels and flips them
  itself before it subtracts the mean, so the kernel keeps Caffe's BGR order: nothing is flipped.
- `cls_score` is class-major, background first: (bg anchor 0, bg anchor 1, fg anchor 0, fg anchor
  1). Our `m1_cls` to `m3_cls` are class-major as well: nothing is permuted.
- `bbox_pred` is anchor-major (dx, dy, dw, dh of anchor 0, then of anchor 1), ours too.
- Kernels only change from Caffe's OIHW to Keras' HWIO.

References:
    Layer names: `SSH/models/train_ssh.prototxt`, `test_ssh.prototxt` of the official code.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ssh_tf.errors import UserError
from ssh_tf.model.caffe.caffemodel import Array, same_bits

# Mean blue, green and red: `lib/utils/get_config.py` PIXEL_MEANS.
CAFFE_MEANS = (102.9801, 115.9465, 122.7717)

Blobs = Mapping[str, Sequence[Array]]

_TRUNK = {
    f"conv{block}_{conv}": f"block{block}_conv{conv}"
    for block, convs in enumerate((2, 2, 3, 3, 3), start=1)
    for conv in range(1, convs + 1)
}
_FUSION = {
    "conv5_128": "fuse_conv5_reduce",
    "conv4_128": "fuse_conv4_reduce",
    "conv4_fuse_final": "fuse_conv",
}
_MODULE = {
    "3x3": "conv3x3",
    "dimred": "context_reduce",
    "5x5": "context_5x5",
    "7x7-1": "context_7x7_1",
    "7x7": "context_7x7_2",
    "cls_score": "cls",
    "bbox_pred": "box",
}
KERAS_NAMES: dict[str, str] = {
    **_TRUNK,
    **_FUSION,
    **{f"m{m}@ssh_{c}": f"m{m}_{k}" for m in (1, 2, 3) for c, k in _MODULE.items()},
}
"""Caffe layer name -> Keras layer name, all layers with trained weights."""

# The train net's second copy of each module, with shared weights: twin -> the layer it repeats.
_TWINS = {f"{name}_ohem": name for name in KERAS_NAMES if "@ssh" in name}
_UPSAMPLING = "conv5_128_up"
_BILINEAR_1D = (0.25, 0.75, 0.75, 0.25)  # caffe-ssh filler.hpp, kernel size 4
_SSH_LAYERS = (KERAS_NAMES.keys() - _TRUNK.keys()) | _TWINS.keys() | {_UPSAMPLING}


@dataclass(frozen=True, slots=True, eq=False)
class CaffeImport:
    """What a Caffe file gives to the Keras network.

    Attributes:
        weights: Keras layer name -> (kernel `[H, W, I, O]`, bias `[O]`), float32.
        trunk_only: Whether the file had VGG16's convolutions alone.
        skipped: Caffe names of fully connected layers that SSH has no place for.
    """

    weights: dict[str, tuple[Array, Array]]
    trunk_only: bool
    skipped: list[str]


def to_keras(
    blobs: Blobs, expected: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]], path: Path
) -> CaffeImport:
    """Matches Caffe's layers with the Keras network's by name and shape.

    Either all of SSH must be there or VGG16's 13 convolutions alone (an ImageNet network). The
    OHEM twins and the fixed upsampling are checked, then left out.

    A file of SSH that was cut exactly between two layers, behind conv5_3 and before the first layer
    of its own, can't be told apart from an ImageNet network: it passes as `trunk_only`.

    Args:
        blobs: What `read_caffemodel` returned.
        expected: Keras layer name -> (kernel shape HWIO, bias shape), of every layer that has
            trained weights.
        path: The file of the blobs, for the error.

    Returns:
        The weights, as views of `blobs` wherever possible: no weight is copied.

    Raises:
        UserError: If layers are missing, left over, misshapen, hold NaN or infinity, or differ
            from what they repeat; one line lists them all by name.
    """
    trunk_only = _SSH_LAYERS.isdisjoint(blobs)
    caffe_names = {keras: caffe for caffe, keras in KERAS_NAMES.items()}
    wanted = {
        caffe_names.get(keras, keras): shapes
        for keras, shapes in expected.items()
        if not trunk_only or keras in _TRUNK.values()
    }
    known = wanted.keys() | _TWINS.keys() | {_UPSAMPLING}
    others = [name for name in blobs if name not in known]
    skipped = [name for name in others if trunk_only and name.startswith("fc")]
    _reject_misfits(
        path,
        {
            "missing": [repr(name) for name in wanted if name not in blobs],
            "left over": [repr(name) for name in others if name not in skipped],
            "misshapen": list(_misshapen(blobs, wanted)),
            "not finite": [repr(name) for name in wanted if not _is_finite(blobs.get(name, ()))],
            "unlike what they repeat": list(_wrong_copies(blobs)),
        },
    )
    weights = {KERAS_NAMES.get(name, name): _keras_order(blobs[name]) for name in wanted}
    return CaffeImport(weights=weights, trunk_only=trunk_only, skipped=skipped)


def _misshapen(
    blobs: Blobs, wanted: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]
) -> Iterator[str]:
    """Describes each layer whose kernel or bias has another shape, in Caffe's axis order."""
    for name, ((height, width, inputs, outputs), bias) in wanted.items():
        shapes = [(outputs, inputs, height, width), tuple(bias)]
        received = [blob.shape for blob in blobs.get(name, ())]
        if name in blobs and received != shapes:
            yield f"{name!r} (expected {_listed(shapes)}, received {_listed(received)})"


def _wrong_copies(blobs: Blobs) -> Iterator[str]:
    """Describes each OHEM twin and upsampling that does not repeat what it must."""
    if _UPSAMPLING in blobs and not _is_bilinear(blobs[_UPSAMPLING]):
        yield f"{_UPSAMPLING!r} (expected the bilinear kernel [1, 4, 4] in each channel)"
    for twin, main in _TWINS.items():
        if {twin, main} <= blobs.keys() and not same_bits(blobs[main], blobs[twin]):
            yield f"{twin!r} (expected the weights of {main!r})"


def _is_bilinear(blobs: Sequence[Array]) -> bool:
    kernel = np.outer(_BILINEAR_1D, _BILINEAR_1D)
    return (
        len(blobs) == 1
        and blobs[0].shape[1:] == (1, 4, 4)
        and np.allclose(blobs[0], kernel, rtol=0, atol=1e-6)
    )


def _is_finite(blobs: Sequence[Array]) -> bool:
    return all(bool(np.isfinite(blob).all()) for blob in blobs)


def _listed(shapes: Sequence[tuple[int, ...]]) -> str:
    return " and ".join(map(str, shapes))


def _reject_misfits(path: Path, misfits: Mapping[str, Sequence[str]]) -> None:
    """Raises one `UserError` for all misfits, if there are any."""
    if any(misfits.values()):
        listing = "; ".join(
            f"{kind}: {', '.join(names)}" for kind, names in misfits.items() if names
        )
        raise UserError(
            f"{path} doesn't fit the network: {listing}. Expected the layers of SSH, or"
            " the 13 convolutions of VGG16 alone. Give SSH.caffemodel or VGG16.caffemodel."
        )


def _keras_order(blobs: Sequence[Array]) -> tuple[Array, Array]:
    """Views a layer's kernel as HWIO instead of OIHW; the bias stays as it is."""
    kernel, bias = blobs
    return kernel.transpose(2, 3, 1, 0), bias
