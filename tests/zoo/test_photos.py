"""The shipped model on real photos, where they are there: a floor below what docs/models.md has.

No photo is copied anywhere; docs/models.md has the figures of all of them.
"""

from pathlib import Path

import numpy as np

import ssh_tf
from ssh_tf.data.readers.wider import find_split, read_annotations
from ssh_tf.geometry.boxes import pairwise_iou


def test_light_finds_most_faces_of_photos_it_never_saw(test_data: Path):
    layout = find_split(test_data / "faces" / "val", "val")
    photos = [photo for photo in read_annotations(layout.annotations) if len(photo.boxes)][::15]
    detector, faces, found, sure = ssh_tf.load("light"), 0, 0, 0
    for photo in photos:
        boxes = np.concatenate([photo.boxes[:, :2], photo.boxes[:, :2] + photo.boxes[:, 2:]], -1)
        detections = detector.detect(layout.images_dir / photo.name).filter(score=0.5)
        overlap = np.asarray(pairwise_iou(boxes, detections.boxes))  # [F, D]
        faces, sure = faces + len(boxes), sure + len(detections)
        found += int((overlap >= 0.4).any(axis=1).sum())
    assert faces > 40
    assert found / faces > 0.75
    assert sure < 1.6 * faces


def test_light_finds_a_public_portrait():
    from skimage.data import astronaut

    (face,) = ssh_tf.load("light").detect(astronaut()).filter(score=0.5)
    x1, y1, x2, y2 = face.box
    assert abs((x1 + x2) / 2 - 224) < 20  # the middle of her face, by eye
    assert abs((y1 + y2) / 2 - 110) < 25
