"""Tests of what all detectors have in common."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from ssh_tf.inference.contract import FaceDetector
from ssh_tf.inference.inputs import pixels_of
from tests.support.small import encode, exif_block, picture, with_exif


class Whole(FaceDetector):
    """Finds the whole image, and its left half with a lower score."""

    def find(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        height, width = pixels.shape[:2]
        boxes = np.array([[0, 0, width, height], [0, 0, width / 2, height]], np.float32)
        return boxes, np.array([0.75, 0.25], np.float32)

    def fingerprint(self) -> str:
        return "whole"

    def __repr__(self) -> str:
        return "Whole()"


def test_a_detector_is_callable_with_one_image_and_with_a_list():
    detector = Whole()
    images = [picture(20, 30), picture(40, 10)]
    assert detector(images[0]).to_dict() == detector.detect(images[0]).to_dict()
    for batch in (detector(images), detector.detect_batch(iter(images))):
        assert [found.size for found in batch] == [(20, 30), (40, 10)]
    assert detector([]) == []


def test_a_threshold_per_call_leaves_weaker_faces_out():
    detector = Whole()
    for threshold, count in ((None, 2), (0.0, 2), (0.25, 2), (0.5, 1), (1.0, 0)):
        assert len(detector.detect(picture(), score_threshold=threshold)) == count
        assert [len(f) for f in detector([picture()], score_threshold=threshold)] == [count]
        assert len(detector(picture(), score_threshold=threshold)) == count


@pytest.mark.parametrize("threshold", [-0.1, 1.5, float("nan")])
def test_a_threshold_is_a_score(threshold: float):
    with pytest.raises(ValueError, match=r"`score_threshold` must be in \[0, 1\]. Received: "):
        Whole().detect(picture(), score_threshold=threshold)


def test_a_list_where_one_image_is_expected_is_a_type_error():
    with pytest.raises(TypeError, match="a list of images goes to `detect_batch`"):
        Whole().detect([picture()])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_and_picture_are_upright(tmp_path: Path, orientation: int):
    path = tmp_path / "a.png"
    path.write_bytes(with_exif(encode(picture(20, 30), ".png"), exif_block(orientation)))
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    height, width = expected.shape[:2]
    for source in (path, str(path), path.read_bytes(), Image.open(path), pixels_of(path)):
        found = Whole().detect(source)
        assert found.size == (height, width)
        assert found[0].box.tolist() == [0, 0, width, height]
        np.testing.assert_array_equal(found.image, expected)


def test_results_of_files_hold_no_pixels(tmp_path: Path):
    path = tmp_path / "a.png"
    path.write_bytes(encode(picture(20, 30), ".png"))
    found = Whole().detect(path)
    path.write_bytes(encode(picture(20, 30, seed=1), ".png"))
    np.testing.assert_array_equal(found.image, picture(20, 30, seed=1))
