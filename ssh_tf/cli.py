"""The command line: the only file that parses flags, prints and exits."""

import argparse
import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

# Before anything imports TensorFlow: its start-up notices would bury our own lines.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from tqdm import tqdm

from ssh_tf.config import load
from ssh_tf.errors import UserError
from ssh_tf.files import output_folder
from ssh_tf.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from ssh_tf.demo import DemoResult
    from ssh_tf.evaluation.curves import Curve
    from ssh_tf.inference.detector import Detector
    from ssh_tf.training.trainer import Logs

_LOG = logging.getLogger("ssh_tf")

# `wider_pyramid.yml` SCALES.
OFFICIAL_PYRAMID_PX = (500, 800, 1200, 1600)

# Faces that the demo's table shows; the best ones.
TABLE_ROWS = 10

# Each command imports what it needs when it runs, so that `--help` and errors come at once.


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: Arguments without the program's name; by default those of the process.

    Returns:
        0 for success, 1 for a failure, 2 for wrong usage, 130 for Ctrl-C.
    """
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    _LOG.setLevel(logging.INFO)
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except UserError as error:
        print(f"ssh-tf {arguments.command}: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        print(f"ssh-tf {arguments.command}: {error.strerror or error}{where}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nssh-tf {arguments.command}: interrupted", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ssh-tf", description="SSH face detector: build records, train, evaluate, serve."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], None], text: str) -> _Flags:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        return sub.add_argument

    _add_data_commands(command)
    _add_model_commands(command)
    return parser


def _import_tensorflow() -> None:
    """Imports TensorFlow without the notices that its C++ libraries print whatever the log level.

    Errors of the import are raised as usual.
    """
    saved = os.dup(2)
    with open(os.devnull, "w") as nothing, contextlib.ExitStack() as stack:
        stack.callback(os.close, saved)
        stack.callback(os.dup2, saved, 2)
        os.dup2(nothing.fileno(), 2)
        import tensorflow  # noqa: F401


_Flags = Callable[..., argparse.Action]
_Command = Callable[[str, Callable[[argparse.Namespace], None], str], _Flags]


def _add_data_commands(command: _Command) -> None:
    add = command("demo", _demo, "the whole path on generated data; about 12 minutes on 2 cores")
    add("--config", default="configs/demo.yaml", help="settings (default: %(default)s)")
    add("--set", action="append", default=[], metavar="a.b=c", help="override a setting")
    add("--out", default="demo", help="folder of everything it writes (default: %(default)s)")

    add = command("synth", _synth, "draw a small data set in WIDER's own layout")
    add("--out", required=True, help="root folder of the data set")
    add("--images", type=int, required=True)
    add("--seed", type=int, default=0)
    add("--split", default="train")
    add("--width", type=int, default=640, help="mean width, px (default: %(default)s)")
    add("--height", type=int, default=480, help="mean height, px (default: %(default)s)")
    add("--smallest_px", type=int, default=12, help="lowest face, px (default: %(default)s)")

    add = command("records", _records, "build TFRecords from a split in WIDER's layout")
    add("--wider_root", required=True, help="holds WIDER_<split>/images and wider_face_split/")
    add("--split", default="train")
    add("--out", required=True, help="folder of the shards, such as tfrecords/wider_train")
    add("--shards", type=int, default=32)
    add("--workers", type=int, default=os.cpu_count() or 1, help="threads (default: all cores)")


def _add_model_commands(command: _Command) -> None:
    add = command("train", _train, "train a network; the same command continues a stopped run")
    add("--config", required=True, help="a YAML file of settings, see configs/")
    add("--workdir", required=True, help="the run's folder, such as runs/first")
    add("--set", action="append", default=[], metavar="a.b=c", help="override a setting")

    add = command("evaluate", _evaluate, "detect all images of a split, then score")
    _add_model(add)
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

    add = command("detect", _detect, "find faces in images and draw them")
    _add_model(add)
    add("paths", nargs="+", help="images or folders")
    add("--out", required=True, help="folder of the pictures")
    add("--json", type=Path, help="also write the boxes to this file")
    add("--show_from", type=float, default=0.5, help="least score drawn (default: %(default)s)")

    add = command("convert", _convert, "turn the authors' Caffe weights into a Keras file")
    add("--caffemodel", required=True, help="SSH.caffemodel")
    add("--out", type=Path, required=True, help="a .keras or .weights.h5 file")

    add = command("export", _export, "write a SavedModel for TensorFlow Serving")
    _add_model(add)
    add("--out", default="export/models/ssh", help="folder of versions (default: %(default)s)")
    add("--max_detections", type=int, default=750, help="rows of the outputs")


def _add_model(add: _Flags) -> None:
    add("--model", required=True, help="a run folder, a .keras, .weights.h5 or .caffemodel")
    add("--shorter_px", type=int, help="scale of the shorter side (default: the run's, or 1200)")
    add("--longer_px", type=int, help="limit of the longer side (default: the run's, or 1600)")
    add("--pyramid", action="store_true", help="the official image pyramid instead of one scale")


def _progress(stage: str, total: int) -> Callable[[], None]:
    """A progress bar on a terminal, a line every tenth of the work otherwise."""
    if sys.stderr.isatty():
        bar = tqdm(total=total, desc=stage, unit="img")

        def tick() -> None:
            bar.update()
            if bar.n >= total:
                bar.close()

        return tick
    done, started = 0, time.monotonic()

    def line() -> None:
        nonlocal done
        done += 1
        if done * 10 // total > (done - 1) * 10 // total:
            _LOG.info("%s: %d of %d, %.0f s", stage, done, total, time.monotonic() - started)

    return line


def _training_progress(steps: int) -> "Callable[[int, Logs], None]":
    """Keras' progress bar on a terminal, a line per log entry otherwise."""
    from keras.utils import Progbar

    bar = Progbar(steps, unit_name="step", stateful_metrics=["loss", "learning_rate"])

    def on_step(step: int, logs: "Logs") -> None:
        shown = [(key, logs[key]) for key in ("loss", "images_per_second") if key in logs]
        if sys.stderr.isatty():
            bar.update(step, shown, finalize=step == steps)
        elif logs:
            terms = " ".join(f"{key}={value:.4g}" for key, value in logs.items())
            _LOG.info("step %d of %d: %s", step, steps, terms)

    return on_step


def _load_detector(arguments: argparse.Namespace) -> "Detector":
    from ssh_tf.inference.detector import Detector

    settings = {
        key: getattr(arguments, key)
        for key in ("shorter_px", "longer_px")
        if getattr(arguments, key) is not None
    }
    if arguments.pyramid:
        settings["pyramid_px"] = OFFICIAL_PYRAMID_PX
    return Detector.load(arguments.model, **settings)


def _demo(arguments: argparse.Namespace) -> None:
    config = load(arguments.config, arguments.set)
    _import_tensorflow()
    from ssh_tf.demo import run_demo

    result = run_demo(
        config,
        arguments.out,
        progress=_progress,
        on_step=_training_progress(config.train.steps),
    )
    print(_demo_table(result))


def _demo_table(result: "DemoResult") -> str:
    seconds = [f"  {stage:10} {value:8.1f}" for stage, value in result.stages.items()]
    rows = [
        f"  {_row(*ours)}   {_row(*served)}"
        for ours, served in zip(
            zip(*result.detected, strict=True), zip(*result.served, strict=True), strict=True
        )
    ]
    return "\n".join(
        [
            f"\nAverage precision on held-out images (IoU 0.5, all faces): {result.ap:.3f}",
            f"Faces found with a score of at least 0.5: {result.found} of {result.faces}",
            "\nStage         seconds",
            *seconds,
            f"\nFaces of {result.example} (x1 y1 x2 y2 score):",
            f"  {'Python detector':34}   exported SavedModel",
            *rows[:TABLE_ROWS],
            f"\nPictures    {Path(result.pictures[0]).parent}",
            f"SavedModel  {result.saved_model}",
        ]
    )


def _row(box: "np.ndarray", score: float) -> str:
    return " ".join(f"{x:6.1f}" for x in box) + f" {score:.4f}"


def _synth(arguments: argparse.Namespace) -> None:
    from ssh_tf.data.synthetic import generate

    generate(
        Path(arguments.out),
        images=arguments.images,
        seed=arguments.seed,
        split=arguments.split,
        size=(arguments.height, arguments.width),
        smallest_px=arguments.smallest_px,
        progress=_progress,
    )
    print(f"{arguments.images} images in {arguments.out}")


def _records(arguments: argparse.Namespace) -> None:
    _import_tensorflow()
    from ssh_tf.data.builder import build_records

    manifest = build_records(
        arguments.wider_root,
        arguments.split,
        arguments.out,
        shards=arguments.shards,
        workers=arguments.workers,
        progress=_progress,
    )
    dropped = manifest["annotated_faces"] - manifest["faces"]
    print(
        f"{manifest['images']} images, {manifest['faces']} faces ({dropped} annotated faces under "
        f"1 px left out) in {len(manifest['shards'])} shards in {arguments.out}"
    )


def _train(arguments: argparse.Namespace) -> None:
    config = load(arguments.config, arguments.set)
    _import_tensorflow()
    from ssh_tf.training.trainer import train

    path = train(config, arguments.workdir, on_step=_training_progress(config.train.steps))
    print(f"Saved {path}")


def _evaluate(arguments: argparse.Namespace) -> None:
    _import_tensorflow()
    from ssh_tf.evaluation.run import evaluate_wider

    detector = _load_detector(arguments)
    curves = evaluate_wider(
        detector,
        arguments.data_root,
        arguments.split,
        arguments.out,
        ground_truth=arguments.ground_truth,
        progress=_progress,
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


def _convert(arguments: argparse.Namespace) -> None:
    _import_tensorflow()
    from ssh_tf.model.weights import load_network, save_network

    output_folder(arguments.out.parent)
    save_network(load_network(arguments.caffemodel), arguments.out)
    print(f"Saved {arguments.out}")


def _print_ap(curves: "Mapping[str, Curve]", out: str) -> None:
    for setting, curve in curves.items():
        print(f"{setting:8} AP {curve.ap:.4f}")
    print(f"Report and curves in {out}")


def _detect(arguments: argparse.Namespace) -> None:
    _import_tensorflow()
    from ssh_tf.inference.detector import find_images
    from ssh_tf.inference.gallery import detect_files

    images = list(find_images(arguments.paths))
    faces = detect_files(
        _load_detector(arguments),
        images,
        Path(arguments.out),
        json_path=arguments.json,
        show_from=arguments.show_from,
        progress=_progress,
    )
    print(f"{faces} faces drawn in {len(images)} pictures in {arguments.out}")


def _export(arguments: argparse.Namespace) -> None:
    _import_tensorflow()
    from ssh_tf.serving.export import export_savedmodel

    detector = _load_detector(arguments)
    version = export_savedmodel(
        detector.network, detector.config, arguments.out, max_detections=arguments.max_detections
    )
    print(f"Exported {version}")


if __name__ == "__main__":
    sys.exit(main())
