"""Scores folders of result files by the official protocols. No TensorFlow here."""

import time
from pathlib import Path

from ssh_tf.data.wider import read_annotations
from ssh_tf.evaluation.curves import Curve
from ssh_tf.evaluation.detections import read_wider
from ssh_tf.evaluation.report import Summary, write_report
from ssh_tf.evaluation.wider import WiderGroundTruth, all_faces, evaluate, load_ground_truth
from ssh_tf.files import existing_folder, output_folder


def wider_truth(folder: Path) -> WiderGroundTruth:
    """Reads the official `.mat` files, or a WIDER annotation file if `folder` is one.

    Args:
        folder: Folder with `wider_{face,easy,medium,hard}_val.mat`, or a `_bbx_gt.txt` file.
    """
    if folder.is_file():
        return all_faces(read_annotations(folder))
    return load_ground_truth(existing_folder(folder, "wider_{face,easy,medium,hard}_val.mat"))


def score_wider(
    detections: str | Path,
    truth: WiderGroundTruth,
    out: str | Path,
    *,
    published: Path | None = None,
    started: float | None = None,
) -> dict[str, Curve]:
    """Scores a folder of result files by the official protocol and writes the report.

    Args:
        detections: Folder of result files.
        truth: The annotated faces.
        out: Folder for `report.json`, `report.md` and the curves.
        published: Folder of `wider_pr_info_*.mat` curves to draw beside.
        started: `time.monotonic()` when the work began; by default now.

    Returns:
        Setting to curve.
    """
    started = time.monotonic() if started is None else started
    folder = output_folder(out)
    found = read_wider(existing_folder(detections, "WIDER result files"))
    curves = evaluate(found, truth)
    boxes = sum(len(rows) for rows in found.values())
    summary = Summary(
        dataset="wider",
        images=len(truth.names),
        detections=boxes,
        seconds=time.monotonic() - started,
    )
    write_report(folder, summary, curves, published=published)
    return curves
