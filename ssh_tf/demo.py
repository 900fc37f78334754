"""A real face in seconds; then the whole path on generated data.

The path: draw, build records, train, evaluate, export, compare.
"""

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from keras import ops

from ssh_tf import signature
from ssh_tf.config import Config
from ssh_tf.data.annotations import AnnotatedImage
from ssh_tf.data.builder import build_records
from ssh_tf.data.readers.wider import find_split, read_annotations, split_layout
from ssh_tf.data.sources import open_wider
from ssh_tf.data.synthetic import draw_image, generate
from ssh_tf.evaluation.run import evaluate_wider, open_annotated
from ssh_tf.export.savedmodel import export_savedmodel
from ssh_tf.files import folder_lock, output_folder, write_text
from ssh_tf.geometry.boxes import pairwise_iou
from ssh_tf.imaging.draw import draw_boxes, save_picture
from ssh_tf.imaging.files import read_image
from ssh_tf.inference.detector import Detector
from ssh_tf.inference.results import Detections, boxes_in_px
from ssh_tf.progress import Progress
from ssh_tf.training.run_folder import load_run
from ssh_tf.training.table import Logs
from ssh_tf.training.trainer import train
from ssh_tf.zoo.models import DEFAULT

VAL_IMAGES = 60
IMAGE_SIZE, SMALLEST_FACE_PX = (128, 160), 32
PICTURES = 8
# A face counts as found by a box of this score and overlap.
SURE, FOUND_IOU = 0.5, 0.5
# Rows of the exported model's outputs; generated images have at most 60 faces.
SERVED_DETECTIONS = 200
# Keys of report.json.
REPORTED = ("ap", "faces", "found", "stages", "pictures", "saved_model")


@dataclasses.dataclass(frozen=True)
class DemoResult:
    """What the demo ends with.

    Attributes:
        ap: Average precision on the held-out images, all faces, IoU 0.5.
        faces: Annotated faces of the held-out images.
        found: How many of them a box with a score of at least 0.5 finds.
        stages: Stage to seconds, over all calls on this folder.
        pictures: Pictures with boxes: detections in color, annotations in white.
        saved_model: The exported version.
        example: One held-out image, that with most faces.
        detected: Its faces by the Python detector.
        served: Its faces by the exported SavedModel.
    """

    ap: float
    faces: int
    found: int
    stages: dict[str, float]
    pictures: list[str]
    saved_model: str
    example: Path
    detected: Detections
    served: Detections


@dataclasses.dataclass(frozen=True)
class FirstLook:
    """What `light` sees in one picture.

    Attributes:
        source: What the picture is.
        detections: Its faces with a score of at least 0.5.
        picture: The file with their boxes.
    """

    source: str
    detections: Detections
    picture: Path


def first_look(out: str | Path) -> FirstLook:
    """Finds the faces of a photo with the shipped model, and draws them.

    The photo is NASA's portrait of Eileen Collins (public domain), which scikit-image holds; a
    drawn scene where that is not installed.

    Args:
        out: The demo's folder; the picture goes into its `pictures/`.
    """
    source, pixels = _first_picture()  # [H, W, 3]
    found = Detector.load(DEFAULT.name).detect(pixels).filter(score=SURE)
    path = output_folder(Path(out) / "pictures") / "first.png"
    save_picture(path, draw_boxes(pixels, found.boxes, found.scores))
    return FirstLook(source, found, path)


def _first_picture() -> tuple[str, np.ndarray]:
    try:
        from skimage.data import astronaut
    except ImportError:
        scene, _, _ = draw_image(np.random.default_rng(3), 480, 640, smallest_px=48)
        return "a drawn scene (ssh-tf[demo] brings a photo)", scene
    pixels: np.ndarray = astronaut()  # type: ignore[no-untyped-call]
    return "NASA's portrait of Eileen Collins", pixels


def run_demo(
    config: Config,
    out: str | Path,
    *,
    images: int,
    progress: Progress,
    on_step: Callable[[int, Logs], None],
) -> DemoResult:
    """Runs every stage; those that an earlier, interrupted call finished are not repeated.

    Args:
        config: As in `configs/demo.yaml`; `data.records` is replaced by a folder in `out`.
        out: Where everything is written.
        images: Pictures to train on.
        progress: See `ssh_tf.progress`.
        on_step: See `trainer.train`.

    Returns:
        The result; it is also written to `out/report.json`.

    Raises:
        UserError: If another process works in `out`, and as its stages.
    """
    folder = output_folder(out)
    with folder_lock(folder, "demo"):
        stages = _Stages(folder / "stages.json")
        with stages.timed("draw"):
            _draw(folder / "wider", images, progress)
        detector = _train(config, folder, stages, progress, on_step)
        result = _evaluate(detector, folder, stages, progress)
        report = {key: getattr(result, key) for key in REPORTED}
        write_text(folder / "report.json", json.dumps(report, indent=1) + "\n")
    return result


def _train(
    config: Config,
    folder: Path,
    stages: "_Stages",
    progress: Progress,
    on_step: Callable[[int, Logs], None],
) -> Detector:
    """Makes records and a detector, as far as they are not there."""
    wider, records = folder / "wider", folder / "records"
    with stages.timed("records"):
        if not (records / signature.MANIFEST).exists():
            build_records(open_wider(wider, "train"), records, shards=4, progress=progress)
    data = config.data.model_copy(update={"records": {str(records): 1.0}})
    with stages.timed("train"):
        train(config.model_copy(update={"data": data}), folder / "run", on_step=on_step)
    return Detector(load_run(folder / "run"), config.detect)


def _evaluate(
    detector: Detector, folder: Path, stages: "_Stages", progress: Progress
) -> DemoResult:
    """Scores the detector, draws what it finds, exports it and compares the two."""
    wider = folder / "wider"
    with stages.timed("evaluate"):
        data = open_annotated(wider, "val")
        curves = evaluate_wider(detector, data, folder / "evaluation", progress=progress)
    images = read_annotations(find_split(wider, "val").annotations)
    with stages.timed("pictures"):
        pictures, faces, found = _pictures(detector, wider, images, folder / "pictures")
    with stages.timed("export"):
        settings = detector.config.model_copy(update={"max_detections": SERVED_DETECTIONS})
        version = export_savedmodel(detector.network, settings, folder / "export" / "ssh")
    example = wider / "WIDER_val" / "images" / max(images, key=lambda image: len(image.boxes)).name
    return DemoResult(
        ap=curves["all"].ap,
        faces=faces,
        found=found,
        stages=stages.seconds,
        pictures=[str(path) for path in pictures],
        saved_model=str(version),
        example=example,
        detected=detector.detect(read_image(example)),
        served=_served(version, example),
    )


class _Stages:
    """Seconds of each stage, over all calls: a stage that is done adds nothing to them.

    Args:
        path: A JSON file, written after each stage.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.seconds: dict[str, float] = {}
        with contextlib.suppress(OSError, ValueError, TypeError):
            earlier = json.loads(path.read_text(encoding="utf-8"))
            self.seconds = {str(name): float(value) for name, value in dict(earlier).items()}

    @contextlib.contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Adds the time that the block takes."""
        started = time.monotonic()
        yield
        passed = time.monotonic() - started
        self.seconds[name] = round(self.seconds.get(name, 0.0) + passed, 1)
        write_text(self._path, json.dumps(self.seconds) + "\n")


def _draw(wider: Path, train_images: int, progress: Progress) -> None:
    """Draws the two splits, unless they are there."""
    for split, images, seed in (("train", train_images, 1), ("val", VAL_IMAGES, 2)):
        if not split_layout(wider, split).annotations.exists():
            generate(
                wider,
                images=images,
                seed=seed,
                split=split,
                size=IMAGE_SIZE,
                smallest_px=SMALLEST_FACE_PX,
                progress=progress,
            )


def _pictures(
    detector: Detector, wider: Path, images: Sequence[AnnotatedImage], out: Path
) -> tuple[list[Path], int, int]:
    """Draws the first pictures; counts annotated faces and those found, over all images."""
    paths, faces, hits = [], 0, 0
    for i, image in enumerate(images):
        pixels = read_image(wider / "WIDER_val" / "images" / image.name)  # [H, W, 3]
        found = detector.detect(pixels)
        sure = found.scores >= SURE
        left_top, size = image.boxes[:, :2], image.boxes[:, 2:]
        truth = np.concatenate([left_top, left_top + size], axis=1)  # [F, 4]
        overlap = ops.convert_to_numpy(pairwise_iou(truth, found.boxes[sure]))  # [F, D]
        faces, hits = faces + len(truth), hits + int((overlap >= FOUND_IOU).any(axis=1).sum())
        if i < PICTURES:
            paths.append(out / f"{Path(image.name).stem}.png")
            picture = draw_boxes(pixels, found.boxes[sure], found.scores[sure], truth=truth)
            save_picture(paths[-1], picture)
    return paths, faces, hits


def _served(version: Path, path: Path) -> Detections:
    """Runs the exported model on one file, as a server would, and gives its boxes in px."""
    serve = tf.saved_model.load(str(version)).signatures[signature.SERVING_DEFAULT]
    encoded = path.read_bytes()
    outputs = serve(tf.constant([encoded]))
    count = int(outputs[signature.NUM_DETECTIONS][0])
    size = read_image(path).shape[:2]
    fractions = outputs[signature.DETECTION_BOXES].numpy()[0, :count]  # [D, 4]
    scores = outputs[signature.DETECTION_SCORES].numpy()[0, :count]  # [D]
    return Detections(boxes_in_px(fractions, size), scores, size)
