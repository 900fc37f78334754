"""Tests of hiding faces: where, how strongly, and that nothing else changes."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from ssh_tf.config import REDACTIONS
from ssh_tf.data.sources import open_wider
from ssh_tf.imaging.redact import redact
from tests.support.small import picture

FACE = np.array([[40, 30, 100, 110]], np.float32)


def noise(height: int = 160, width: int = 200) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", REDACTIONS)
def test_every_pixel_of_the_box_changes_and_none_far_from_it(kind: str):
    image = noise()
    result = redact(image, FACE, kind)
    changed = (result != image).any(axis=-1)
    assert changed[30:110, 40:100].mean() > 0.99  # a mean may equal a pixel by chance
    # The ellipse through the corners, 0.2 of the box wider on each side: radii 59.4 and 79.2.
    assert not changed[:, 130:].any()
    assert not changed[150:].any()


@pytest.mark.parametrize(("kind", "colors"), [("pixelate", 4 * 4), ("fill", 1)])
def test_few_colors_are_left(kind: str, colors: int):
    region = redact(noise(), FACE, kind)[30:110, 40:100]
    assert len(np.unique(region.reshape(-1, 3), axis=0)) <= colors


def test_blur_depends_on_four_means_alone():
    """Whatever has the same means gives the same result: nothing can tell the two apart."""
    image = picture(160, 160, seed=1)
    box = np.array([[60, 60, 100, 100]], np.float32)  # its region: 46.4 to 113.6 around 80
    first = redact(image, box, "blur")
    shuffled = image.copy()
    rng = np.random.default_rng(0)
    # The region is 80 px wide (radii 39.6), 40 to 120, in two cells per axis.
    for y in (40, 80):
        for x in (40, 80):
            cell = shuffled[y : y + 40, x : x + 40].reshape(-1, 3)
            shuffled[y : y + 40, x : x + 40] = rng.permutation(cell).reshape(40, 40, 3)
    inside = first[60:100, 60:100]
    np.testing.assert_array_equal(redact(shuffled, box, "blur")[60:100, 60:100], inside)
    assert (shuffled != image).any()


@pytest.mark.parametrize("kind", REDACTIONS)
@pytest.mark.parametrize(
    "box",
    [
        pytest.param([-50, -50, 20, 30], id="over-the-corner"),
        pytest.param([-500, -500, 900, 900], id="larger-than-the-image"),
        pytest.param([300, 300, 400, 400], id="outside"),
        pytest.param([50, 50, 50, 50], id="without-area"),
        pytest.param([90, 40, 50, 20], id="inverted"),
    ],
)
def test_odd_boxes_are_no_error(kind: str, box: list[float]):
    result = redact(noise(), np.array([box], np.float32), kind)
    assert (result.shape, result.dtype) == ((160, 200, 3), np.uint8)


def test_a_face_of_a_few_px_leaves_one_color():
    region = redact(noise(), np.array([[50, 50, 56, 57]], np.float32), "pixelate")[50:57, 50:56]
    assert len(np.unique(region.reshape(-1, 3), axis=0)) == 1


def test_no_faces_and_the_input_itself_are_left_as_they_were():
    image = noise()
    before = image.copy()
    np.testing.assert_array_equal(redact(image, np.zeros((0, 4), np.float32), "blur"), image)
    redact(image, FACE, "fill")
    np.testing.assert_array_equal(image, before)


def test_overlapping_regions_are_painted_from_the_original():
    """Else a second region would hide less: it would mix the first one's cells."""
    image = noise()
    both = np.concatenate([FACE, FACE + 10])
    alone = redact(image, both[1:], "pixelate")
    np.testing.assert_array_equal(
        redact(image, both, "pixelate")[60:100, 70:90], alone[60:100, 70:90]
    )


def test_another_kind_is_refused():
    with pytest.raises(ValueError, match="Received: 'smear'"):
        redact(noise(), FACE, "smear")


def test_a_detector_finds_no_face_where_one_was_hidden(test_data: Path):
    """YuNet, at half of the score that its authors recommend, on photos with annotated faces."""
    model = test_data / "peers" / "face_detection_yunet_2023mar.onnx"
    yunet = cv2.FaceDetectorYN.create(str(model), "", (320, 320), 0.45)
    before, after = 0, dict.fromkeys(REDACTIONS, 0)
    source = open_wider(test_data / "faces" / "val", "val")
    for entry in [entry for entry in source.entries if 0 < len(entry.boxes) < 6][:4]:
        encoded = np.frombuffer(source.images.read(entry.name), np.uint8)
        image = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
        boxes = entry.boxes + np.pad(entry.boxes[:, :2], [(0, 0), (2, 0)])  # w, h -> x2, y2
        yunet.setInputSize(image.shape[1::-1])
        before += overlaps(yunet.detect(image)[1], boxes)
        for kind in REDACTIONS:
            after[kind] += overlaps(yunet.detect(redact(image, boxes, kind))[1], boxes)
    assert before >= 4
    assert after == dict.fromkeys(REDACTIONS, 0)


def overlaps(rows: np.ndarray | None, boxes: np.ndarray) -> int:
    """Counts detections (x, y, w, h, ...) that overlap an annotated face by an IoU of 0.3."""
    count = 0
    for x, y, w, h in (row[:4] for row in (rows if rows is not None else ())):
        inter = np.clip(
            np.minimum(boxes[:, 2:], [x + w, y + h]) - np.maximum(boxes[:, :2], [x, y]), 0, None
        ).prod(axis=1)
        union = w * h + (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) - inter
        count += bool((inter / union > 0.3).any())
    return count
