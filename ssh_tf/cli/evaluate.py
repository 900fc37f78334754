"""`ssh-tf evaluate` and `ssh-tf score`."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ssh_tf.cli.flags import Command, Flags, add_batch, add_model, fraction
from ssh_tf.cli.ray import add_ray, detector_of
from ssh_tf.cli.terminal import import_tensorflow, progress, say
from ssh_tf.errors import UserError

if TYPE_CHECKING:
    from ssh_tf.data.sources import BoxesOn
    from ssh_tf.evaluation.curves import Curve, RocCurve
    from ssh_tf.evaluation.score import Options


DATASETS = ("wider", "fddb", "pascal", "afw")


def add_commands(command: Command) -> None:
    """Declares the commands of this file."""
    add = command("evaluate", _evaluate, "detect all images of a data set, then score")
    add_model(add)
    add_batch(add)
    add("--dataset", choices=DATASETS, default="wider")
    add(
        "--data_root",
        required=True,
        help="WIDER: folder in its layout, or of the images of your own annotations; FDDB: "
        "originalPics; Pascal Faces, AFW: the images",
    )
    add("--split", help="of WIDER's layout (default: val)")
    _add_ground_truth(add, required=False)
    add("--out", required=True)
    add_ray(add)

    add = command("score", _score, "score result files that exist")
    add("--dataset", choices=DATASETS, default="wider")
    add("--detections", required=True, help="folder of WIDER result files, or the set's own file")
    _add_ground_truth(add, required=True)
    add(
        "--images",
        help="FDDB: folder of the images, or a text file of their sizes; WIDER: folder of the "
        "images, for a sheet of the worst ones and for YOLO's boxes",
    )
    add("--out", required=True)


def _add_ground_truth(add: Flags, *, required: bool) -> None:
    add(
        "--ground_truth",
        type=Path,
        required=required,
        help="WIDER: folder of .mat files, or annotations as bbx_gt.txt, CSV, COCO (.json), Pascal "
        "VOC or YOLO (evaluate: by default those of WIDER's layout); FDDB: folder of the fold "
        "lists; Pascal Faces and AFW: face-eval's .mat",
    )
    add(
        "--boxes_on",
        choices=["upright", "stored"],
        help="which way CSV, COCO, VOC and YOLO boxes were drawn, where an image has an EXIF "
        "orientation (default: upright)",
    )
    add(
        "--published",
        type=Path,
        help="folder of curves to draw beside. WIDER: wider_pr_info_*.mat; FDDB: *DiscROC.txt and "
        "*ContROC.txt; Pascal Faces and AFW: other detectors' results in face-eval's format",
    )
    add("--name", default="this run", help="what the detector is called (default: %(default)s)")
    add(
        "--operating_score",
        type=fraction,
        help="WIDER: score from which a detection is taken for a face, for the report's precision, "
        "recall and worst images (default: 0.5)",
    )


def _evaluate(arguments: argparse.Namespace) -> None:
    dataset, truth, out = arguments.dataset, arguments.ground_truth, arguments.out
    if dataset != "wider" and truth is None:
        raise UserError(f"--dataset {dataset} needs --ground_truth; see `ssh-tf evaluate --help`.")
    _refuse_unused(arguments)
    import_tensorflow()
    from ssh_tf.evaluation import run

    # A run's own scale is WIDER's.
    with detector_of(arguments, preset=None if dataset == "wider" else dataset) as detector:
        root, options = arguments.data_root, _options(arguments)
        if dataset == "wider":
            data = run.open_annotated(
                root, arguments.split or "val", truth, boxes_on=_boxes_on(arguments)
            )
            found = run.evaluate_wider(detector, data, out, options=options, progress=progress)
            _print_ap(found, out)
        elif dataset == "fddb":
            rocs = run.evaluate_fddb(detector, root, truth, out, options=options, progress=progress)
            _print_roc(rocs, out)
        else:
            found = run.evaluate_pascal(
                dataset, detector, root, truth, out, options=options, progress=progress
            )
            _print_ap(found, out)


def _score(arguments: argparse.Namespace) -> None:
    from ssh_tf.evaluation import score
    from ssh_tf.evaluation.truth import read_truth

    detections, truth, out = arguments.detections, arguments.ground_truth, arguments.out
    dataset, options = arguments.dataset, _options(arguments)
    _refuse_unused(arguments)
    if dataset == "fddb":
        if arguments.images is None:
            raise UserError("--dataset fddb needs --images: the images' folder or a list of sizes.")
        _print_roc(score.score_fddb(detections, truth, arguments.images, out, options=options), out)
    elif dataset == "wider":
        images = _images(arguments.images)
        folder = None if arguments.images is None else Path(arguments.images)
        faces = read_truth(truth, folder, boxes_on=_boxes_on(arguments))
        found = score.score_wider(detections, faces, out, images=images, options=options)
        _print_ap(found, out)
    else:
        _print_ap(score.score_pascal(dataset, detections, truth, out, options=options), out)


def _options(arguments: argparse.Namespace) -> "Options":
    from ssh_tf.evaluation.breakdown import OPERATING_SCORE
    from ssh_tf.evaluation.score import Options

    score = arguments.operating_score
    return Options(
        name=arguments.name,
        published=arguments.published,
        operating_score=OPERATING_SCORE if score is None else score,
    )


def _boxes_on(arguments: argparse.Namespace) -> "BoxesOn":
    chosen: BoxesOn = arguments.boxes_on or "upright"
    return chosen


def _refuse_unused(arguments: argparse.Namespace) -> None:
    """Refuses flags that the data set has no use for, instead of ignoring them."""
    if arguments.dataset == "wider":
        return
    unused = ["split", "boxes_on", "operating_score"]
    unused += [] if arguments.dataset == "fddb" else ["images"]
    for name in unused:
        if getattr(arguments, name, None) is not None:
            raise UserError(f"--{name} is of no use with --dataset {arguments.dataset}. Remove it.")


def _images(folder: str | None) -> dict[str, Path] | None:
    """Returns result key to image file."""
    if folder is None:
        return None
    from ssh_tf.evaluation.detections import image_key, refuse_equal_keys
    from ssh_tf.imaging.folders import find_images

    files = {name.as_posix(): path for path, name in find_images([folder]).images}
    refuse_equal_keys(files)
    return {image_key(name): path for name, path in files.items()}


def _print_roc(curves: "Mapping[str, RocCurve]", out: str) -> None:
    for name, curve in curves.items():
        rate = curve.true_positive_rate.max()
        say(f"{name:10} true positive rate {rate:.4f} at the end of the curve")
    say(f"Report and curves in {out}")


def _print_ap(curves: "Mapping[str, Curve]", out: str) -> None:
    for setting, curve in curves.items():
        say(f"{setting:8} AP {curve.ap:.4f}")
    say(f"Report and curves in {out}")
