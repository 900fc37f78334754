"""Pictures and numbers of a folder of records: what `ssh-tf inspect` shows."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from matplotlib.axes import Axes

from ssh_tf.config import M1, M2, M3
from ssh_tf.data.annotations import ATTRIBUTES
from ssh_tf.data.manifest import read_manifest
from ssh_tf.data.records import decode_upright, parse_example
from ssh_tf.data.statistics import Contents, best_anchor_iou, read_contents
from ssh_tf.files import output_folder
from ssh_tf.imaging.draw import counted, save_picture
from ssh_tf.imaging.plots import ACCENT, INK, decorate, new_figure, save_figure
from ssh_tf.imaging.sheet import contact_sheet, tile
from ssh_tf.progress import Progress, silent

_MODULES = (M1, M2, M3)
_SCALES = np.round(np.arange(0.25, 3.01, 0.05), 2)
_SHOWN_SCALES = (0.5, 1.0, 1.5625, 2.0)
_POSITIVE_IOU = 0.5

_SHOWN = 12  # images of the contact sheet


def inspect_records(folder: str | Path, out: Path, *, progress: Progress = silent) -> str:
    """Verifies records, counts what is in them and draws it.

    Args:
        folder: Made by `ssh-tf records`.
        out: Folder of the pictures: `sizes.png`, `anchors.png`, `images.png`.
        progress: See `ssh_tf.progress`.

    Returns:
        The numbers, as text of several lines.

    Raises:
        UserError: If the records do not agree with their manifest, or `out` can't be written.
    """
    contents = read_contents(folder, progress=progress)
    output_folder(out)
    coverage = {
        float(scale): float(
            (best_anchor_iou(contents.faces, scale, _MODULES) >= _POSITIVE_IOU).mean()
        )
        for scale in (*_SCALES, *_SHOWN_SCALES)
        if len(contents.faces)
    }
    _save(out / "sizes.png", lambda axes: _draw_sizes(axes, contents))
    _save(out / "anchors.png", lambda axes: _draw_coverage(axes, coverage))
    save_picture(out / "images.png", _draw_images(folder))
    return _report(contents, coverage, read_manifest(folder))


def _report(
    contents: Contents, coverage: Mapping[float, float], manifest: Mapping[str, Any]
) -> str:
    per_image, faces = contents.faces_per_image, contents.faces
    lines = [
        f"{len(contents.names):,} images of split {manifest.get('split')}, {len(faces):,} faces; "
        "all shards are as the manifest says",
        _distribution("faces per image", per_image),
        _distribution("image width, px", contents.sizes[:, 1]),
        _distribution("image height, px", contents.sizes[:, 0]),
        _distribution("face width, px", faces[:, 2] - faces[:, 0]),
        _distribution("face height, px", faces[:, 3] - faces[:, 1]),
    ]
    for name, values in zip(ATTRIBUTES, contents.attributes.T, strict=True):
        if name not in manifest.get("attributes", ATTRIBUTES):
            continue  # Zeros that nobody annotated.
        kinds, counts = np.unique(values, return_counts=True)
        shares = (f"{k}: {100 * n / len(values):.1f} %" for k, n in zip(kinds, counts, strict=True))
        lines.append(f"{name:18} {', '.join(shares)}")
    for scale in _SHOWN_SCALES:
        if scale in coverage:
            lines.append(
                f"at scale {scale:<6g}    {100 * coverage[scale]:.1f} % of the faces have an "
                f"anchor of IoU >= {_POSITIVE_IOU}"
            )
    return "\n".join(lines)


def _distribution(name: str, values: np.ndarray) -> str:
    if not len(values):
        return f"{name:18} none"
    low, quarter, middle, upper, high = np.percentile(values, [0, 25, 50, 75, 100])
    return (
        f"{name:18} {low:.0f} to {high:.0f}, median {middle:.0f}, "
        f"half of them {quarter:.0f} to {upper:.0f}"
    )


def _save(path: Path, draw: Callable[[Axes], None]) -> None:
    figure = new_figure(8.8, 5.2)
    draw(figure.subplots())
    save_figure(figure, path)


def _draw_sizes(axes: Axes, contents: Contents) -> None:
    height = contents.faces[:, 3] - contents.faces[:, 1]
    low, high = height.min(initial=1024), height.max(initial=1)
    # Edges between whole pixels: bins narrower than a pixel would stay empty.
    bins = np.unique(np.round(np.geomspace(max(min(low, high), 1), high + 1, 24))) - 0.5
    axes.hist(height, bins=bins.tolist(), color=ACCENT, edgecolor="white", linewidth=0.5)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    title = f"{len(height):,} faces in {len(contents.names):,} images"
    decorate(axes, title, "height of a face in its image, px", "faces")


def _draw_coverage(axes: Axes, coverage: dict[float, float]) -> None:
    scales = sorted(coverage)
    axes.plot(scales, [100 * coverage[scale] for scale in scales], color=ACCENT, linewidth=2)
    shown = {scale: 100 * coverage[scale] for scale in _SHOWN_SCALES if scale in coverage}
    axes.plot(list(shown), list(shown.values()), "o", color=ACCENT)
    # Low and to the right, where the line is not: larger faces have more anchors.
    text = "\n".join(f"scale {scale:g}: {share:.1f} %" for scale, share in shown.items())
    axes.text(
        0.79, 0.05, text, transform=axes.transAxes, color=INK, linespacing=1.5, backgroundcolor="w"
    )
    axes.set_ylim(0, 101)  # a line at 100 shows in its full width
    title = f"Faces that an anchor matches with IoU >= {_POSITIVE_IOU} (official anchors)"
    decorate(axes, title, "scale: network px per image px", "faces with an anchor, %")


def _draw_images(folder: str | Path) -> np.ndarray:
    """Draws the first images of a data set with their boxes: uint8 RGB."""
    shards = [str(Path(folder) / shard["name"]) for shard in read_manifest(folder)["shards"]]
    samples = [parse_example(record) for record in tf.data.TFRecordDataset(shards).take(_SHOWN)]
    tiles, captions = [], []
    for sample in samples:
        faces = sample["faces"].numpy()
        tiles.append(tile(decode_upright(sample).numpy(), faces))
        name = sample["name"].numpy().decode(errors="replace")
        captions.append(f"{name}: {counted(len(faces), 'face')}")
    return contact_sheet(tiles, captions)
