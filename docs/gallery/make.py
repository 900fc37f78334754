"""Draws the pictures of this folder, each by the code that draws it for people: `make gallery`.

People are drawn ones; the one photo is NASA's portrait of Eileen Collins, in the public domain,
which scikit-image holds. Curves are of the demo's run and pictures, which are made first.
"""

import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import screens
from skimage.data import astronaut

import ssh_tf
from ssh_tf.cli import main as run_command
from ssh_tf.config import REDACTIONS, load
from ssh_tf.data.inspection import inspect_records
from ssh_tf.data.readers.wider import find_split, read_annotations
from ssh_tf.data.synthetic import draw_image
from ssh_tf.demo import run_demo
from ssh_tf.evaluation import figures
from ssh_tf.evaluation.run import evaluate_fddb, evaluate_wider, open_annotated
from ssh_tf.export.savedmodel import export_savedmodel
from ssh_tf.imaging.draw import draw_boxes
from ssh_tf.imaging.plots import save_figure
from ssh_tf.imaging.redact import redact
from ssh_tf.imaging.sheet import contact_sheet
from ssh_tf.progress import silent
from ssh_tf.training.plot import plot_run

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
DEMO = ROOT / "demo"  # where `make demo` works, too
WORK = DEMO / "gallery"
WIDTH, MAX_BYTES = 1400, 300_000
SHOWN_FROM = 0.5
TRAINED = "trained on drawn faces"
# The page of the local server has a scene to try it with.
SAMPLE, SAMPLE_MAX_BYTES = ROOT / "ssh_tf" / "server" / "web" / "sample.jpg", 60_000


def portrait(side: int = 512) -> np.ndarray:
    """Returns the photo, `[side, side, 3]` uint8 RGB."""
    return cv2.resize(astronaut(), (side, side), interpolation=cv2.INTER_CUBIC)


def scene(seed: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns a drawn scene, `[height, width, 3]` uint8 RGB, and its faces' corners, `[F, 4]`."""
    pixels, boxes, _ = draw_image(np.random.default_rng(seed), height, width, smallest_px=36)
    return pixels, corners(boxes)


def corners(boxes: np.ndarray) -> np.ndarray:
    """Returns `x1, y1, x2, y2` of `[F, 4]` `x, y, w, h`."""
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def save(path: Path, pixels: np.ndarray, max_bytes: int = MAX_BYTES) -> None:
    """Writes a picture, as a JPEG of the best quality that is small enough."""
    scale = min(1.0, WIDTH / pixels.shape[1])
    small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    for quality in range(90, 40, -5):
        _, encoded = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        if len(encoded) <= max_bytes:
            break
    path.write_bytes(encoded.tobytes())


def copy(path: Path, name: str) -> None:
    """Writes a picture of the work folder as a JPEG."""
    save(HERE / name, cv2.imread(str(path))[..., ::-1])


def draw_detections(detector: ssh_tf.Detector) -> None:
    """Draws the photo beside a scene, each alone, and the page's sample."""
    photo, (drawn, faces) = portrait(560), scene(685, 560, 840)
    left, right = (detector.detect(pixels).filter(SHOWN_FROM) for pixels in (photo, drawn))
    boxes = np.concatenate([left.boxes, np.add(right.boxes, [560, 0, 560, 0])])
    scores = np.concatenate([left.scores, right.scores])
    both = np.concatenate([photo, drawn], axis=1)
    save(HERE / "hero.jpg", draw_boxes(both, boxes, scores, key=False))
    save(HERE / "portrait.jpg", left.draw())
    save(HERE / "annotated.jpg", draw_boxes(drawn, right.boxes, right.scores, truth=faces))
    sample = cv2.resize(drawn, (720, 480), interpolation=cv2.INTER_AREA)
    save(SAMPLE, sample, SAMPLE_MAX_BYTES)


def draw_redaction(detector: ssh_tf.Detector) -> None:
    """Draws the photo's face marked, and hidden in every way."""
    photo = portrait(480)
    found = detector.detect(photo).filter(SHOWN_FROM)
    marked = draw_boxes(photo, found.boxes, found.scores, key=False)
    hidden = [redact(photo, found.boxes, kind) for kind in REDACTIONS]
    names = ["found", *(f"--redact {kind}" for kind in REDACTIONS)]
    save(HERE / "redaction.jpg", contact_sheet([marked, *hidden], names))


def draw_records() -> None:
    """Draws what `ssh-tf inspect` shows of the demo's records."""
    out = WORK / "inspected"
    inspect_records(DEMO / "records", out)
    for name in ("sizes", "anchors"):
        (HERE / f"{name}.png").write_bytes((out / f"{name}.png").read_bytes())
    copy(out / "images.png", "images.jpg")


def draw_evaluation(detector: ssh_tf.Detector) -> None:
    """Draws curves and sheets of the demo's held-out pictures, by WIDER's and FDDB's protocols."""
    detectors = {"light": detector, TRAINED: ssh_tf.load(DEMO / "run")}
    data, (images, folds) = open_annotated(DEMO / "wider", "val"), write_ellipses()
    curves, rocs = {}, {}
    for name, each in detectors.items():
        out = WORK / name
        curves[name] = evaluate_wider(each, data, out / "wider")["all"]
        rocs[name] = evaluate_fddb(each, images, folds, out / "fddb")["discrete"]
    title = "60 drawn pictures, held out"
    figure = figures.precision_recall(title, curves, evaluated=TRAINED, partial=False)
    save_figure(figure, HERE / "precision_recall.png")
    figure = figures.roc(f"{title}, FDDB's discrete score", rocs, evaluated=TRAINED)
    save_figure(figure, HERE / "roc.png")
    report = WORK / "light" / "wider"
    (HERE / "reliability.png").write_bytes((report / "reliability.png").read_bytes())
    copy(report / "worst.jpg", "worst.jpg")


def write_ellipses() -> tuple[Path, Path]:
    """Writes the held-out faces as FDDB's annotations are; returns its images and its folds."""
    split = find_split(DEMO / "wider", "val")
    blocks = []
    for image in read_annotations(split.annotations):
        rows = [f"{h / 2} {w / 2} 1.5708 {x + w / 2} {y + h / 2} 1" for x, y, w, h in image.boxes]
        name = Path(image.name).with_suffix("").as_posix()
        blocks.append("\n".join([name, str(len(rows)), *rows]))
    folds = WORK / "folds"
    folds.mkdir(parents=True)
    (folds / "FDDB-fold-01-ellipseList.txt").write_text("\n".join(blocks) + "\n")
    return split.images_dir, folds


def draw_benchmark() -> None:
    """Draws the bars of `ssh-tf benchmark`."""
    where = ["--sizes", "400x800", "800x1200", "--out", str(WORK / "benchmark")]
    run_command(["benchmark", "--model", "light", "--runtime", "all", *where])
    (HERE / "benchmark.png").write_bytes((WORK / "benchmark" / "benchmark.png").read_bytes())


def exported(detector: ssh_tf.Detector) -> Path:
    """Exports the detector; returns its folder of versions."""
    export_savedmodel(detector.network, detector.config, WORK / "export")
    return WORK / "export"


def main() -> None:
    """Draws all; the pictures of windows where Chromium is installed."""
    run_demo(load("configs/demo.yaml"), DEMO, images=500, progress=silent, on_step=lambda *_: None)
    shutil.rmtree(WORK, ignore_errors=True)
    detector = ssh_tf.load()
    draw_detections(detector)
    draw_redaction(detector)
    draw_records()
    draw_evaluation(detector)
    draw_benchmark()
    plot_run(DEMO / "run", HERE / "training.png")
    if not screens.draw(exported(detector), DEMO / "run" / "logs", HERE, save):
        sys.exit("Chromium and its driver are not installed: its pictures stay as they were.")


if __name__ == "__main__":
    main()
