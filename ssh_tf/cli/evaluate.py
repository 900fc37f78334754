"""`ssh-tf evaluate` and `ssh-tf score`."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ssh_tf.cli.flags import Command, add_model, load_detector
from ssh_tf.cli.terminal import import_tensorflow, progress
from ssh_tf.errors import UserError

if TYPE_CHECKING:
    from ssh_tf.evaluation.curves import Curve


def add_commands(command: Command) -> None:
    """Declares the commands of this file."""
    add = command("evaluate", _evaluate, "detect all images of a split, then score")
    add_model(add)
    add("--dataset", choices=["wider"], default="wider")
    add("--data_root", required=True, help="folder in WIDER's layout")
    add("--split", default="val")
    add("--ground_truth", type=Path, help="folder with wider_{face,easy,medium,hard}_val.mat")
    add("--out", required=True)

    add = command("score", _score, "score result files that exist")
    add("--dataset", choices=["wider", "fddb", "pascal", "afw"], default="wider")
    add("--detections", required=True, help="folder of WIDER result files, or the set's own file")
    add(
        "--ground_truth",
        type=Path,
        required=True,
        help="WIDER: folder of .mat files, or a bbx_gt.txt; FDDB: folder of the fold lists; "
        "Pascal and AFW: face-eval's .mat",
    )
    add("--images", help="FDDB: folder of the images, or a text file of their sizes")
    add("--published", type=Path, help="folder of wider_pr_info_*.mat curves to draw beside")
    add("--out", required=True)


def _evaluate(arguments: argparse.Namespace) -> None:
    import_tensorflow()
    from ssh_tf.evaluation.run import evaluate_wider

    detector = load_detector(arguments)
    curves = evaluate_wider(
        detector,
        arguments.data_root,
        arguments.split,
        arguments.out,
        ground_truth=arguments.ground_truth,
        progress=progress,
    )
    _print_ap(curves, arguments.out)


def _score(arguments: argparse.Namespace) -> None:
    from ssh_tf.evaluation import score

    if arguments.dataset == "fddb":
        if arguments.images is None:
            raise UserError("--dataset fddb needs --images: the images' folder or a list of sizes.")
        curves = score.score_fddb(
            arguments.detections, arguments.ground_truth, arguments.images, arguments.out
        )
        for name, curve in curves.items():
            rate = curve.true_positive_rate.max()
            print(f"{name:10} true positive rate {rate:.4f} at the end of the curve")
        print(f"Report and curves in {arguments.out}")
        return
    if arguments.dataset == "wider":
        truth = score.wider_truth(arguments.ground_truth)
        published = arguments.published
        found = score.score_wider(arguments.detections, truth, arguments.out, published=published)
    else:
        found = score.score_pascal(
            arguments.dataset, arguments.detections, arguments.ground_truth, arguments.out
        )
    _print_ap(found, arguments.out)


def _print_ap(curves: "Mapping[str, Curve]", out: str) -> None:
    for setting, curve in curves.items():
        print(f"{setting:8} AP {curve.ap:.4f}")
    print(f"Report and curves in {out}")
