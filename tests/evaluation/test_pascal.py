"""Pascal Faces and AFW: small cases by hand, and face-eval's own results."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from ssh_tf.errors import UserError
from ssh_tf.evaluation.detections import write_wider
from ssh_tf.evaluation.face_eval import (
    AnnotatedFaces,
    ResultTable,
    from_tables,
    image_key,
    load_annotations,
    read_detections,
)
from ssh_tf.evaluation.pascal import (
    DROPPED,
    FALSE_POSITIVE,
    TRUE_POSITIVE,
    evaluate,
    inclusive_iou,
    iou_of,
    refine,
)

Row = tuple[str, float, list[float]]

A, B, NOWHERE = [0.0, 0, 49, 49], [100.0, 0, 149, 49], [500.0, 500, 549, 549]
ANNOTATIONS = {
    "PASCAL": "Annotations_Face_PASCALLayout_large_fixed.mat",
    "AFW": "new_annotations_AFW.mat",
}


def _truth(
    ignored: list[bool], boxes: list[list[float]] | None = None
) -> dict[str, AnnotatedFaces]:
    return {"a": AnnotatedFaces(np.array(boxes or [A, B]), np.array(ignored))}


def _detections(*rows: Row) -> ResultTable:
    images = [image for image, _, _ in rows]
    scores = np.array([score for _, score, _ in rows])
    return ResultTable(images, scores, np.array([box for _, _, box in rows]).reshape(-1, 4))


@pytest.mark.parametrize(
    ("rows", "labels", "ap"),
    [
        pytest.param([("a", 0.9, A), ("a", 0.1, NOWHERE)], [1, 0], 0.5, id="one-right-one-wrong"),
        pytest.param([("a", 0.1, A), ("a", 0.9, NOWHERE)], [0, 1], 0.25, id="wrong-one-first"),
        pytest.param([("a", 0.9, A), ("a", 0.8, A)], [1, 0], 0.5, id="double-detection"),
        pytest.param([("a", 0.9, A), ("z", 0.8, A)], [1, 0], 0.5, id="image-not-annotated"),
        pytest.param([("a", 0.5, NOWHERE), ("a", 0.5, A)], [0, 1], 0.25, id="tie-keeps-order"),
        pytest.param([("a", 0.9, [0.0, 0, 21, 21])], [], 0.0, id="too-small-to-count"),
        pytest.param([("a", 0.9, [0.0, 0, 5, 22])], [0], 0.0, id="one-long-side-suffices"),
        pytest.param([], [], 0.0, id="no-detections"),
    ],
)
def test_labels_and_ap_by_hand(rows: list[Row], labels: list[int], ap: float) -> None:
    result = evaluate(_detections(*rows), _truth([False, False]), rounds=1)
    assert result.labels.tolist() == labels
    assert result.curve.ap == ap


def test_many_tied_detections_keep_their_order() -> None:
    rows: list[Row] = [("a", 0.25, NOWHERE), ("a", 0.5, NOWHERE)] * 100
    rows[7] = ("a", 0.5, A)  # the fourth of its score
    labels = evaluate(_detections(*rows), _truth([False, False]), rounds=1).labels
    assert np.flatnonzero(labels == TRUE_POSITIVE).tolist() == [3]


def test_detections_of_an_ignored_face_are_dropped() -> None:
    rows: list[Row] = [("a", 0.9, A), ("a", 0.8, A), ("a", 0.1, B)]
    result = evaluate(_detections(*rows), _truth([True, False]), rounds=1)
    assert result.labels.tolist() == [DROPPED, DROPPED, TRUE_POSITIVE]
    assert result.curve.ap == 1.0  # 0/0 precision of the first two takes no part


def test_no_counted_face_has_no_average_precision() -> None:
    assert np.isnan(evaluate(_detections(("a", 0.9, A)), _truth([True, True])).curve.ap)


def test_image_without_faces_gives_false_positives() -> None:
    truth = {**_truth([False, False]), "b": AnnotatedFaces(np.zeros((0, 4)), np.zeros(0, bool))}
    result = evaluate(_detections(("b", 0.9, A), ("a", 0.8, A)), truth, rounds=1)
    assert result.labels.tolist() == [FALSE_POSITIVE, TRUE_POSITIVE]


def test_last_of_equally_overlapping_faces_wins() -> None:
    detections = _detections(("a", 0.9, A))
    assert evaluate(detections, _truth([False, True], [A, A])).labels.tolist() == [DROPPED]
    assert evaluate(detections, _truth([True, False], [A, A])).labels.tolist() == [TRUE_POSITIVE]


def test_iou_counts_inclusive_pixels() -> None:
    boxes = np.array([[0.0, 0, 9, 9], [9.0, 0, 18, 9]])
    # 100 / 200; a single shared column does not overlap.
    assert inclusive_iou(boxes, np.array([[0.0, 0, 9, 19]])).ravel().tolist() == [0.5, 0.0]


def test_overlap_of_exactly_half_is_wrong() -> None:
    result = evaluate(_detections(("a", 0.9, [0.0, 0, 49, 99])), _truth([False, False]), rounds=1)
    assert result.labels.tolist() == [FALSE_POSITIVE]


def test_refine_moves_centers_by_sizes_and_scales_sides() -> None:
    box = np.array([[10.0, 20, 20, 40]])  # center 15, 30; size 10 x 20
    moved = refine(box, np.array([0.5, -0.25, 2.0, 0.5]))  # center 20, 25; size 20 x 10
    assert moved.tolist() == [[10, 20, 30, 30]]


def test_refinement_finds_a_constant_offset() -> None:
    # Right of their faces by 10 px (IoU 2/3) and 25 px (1/3); moved by 10, the second has 0.54.
    shifted: list[Row] = [("a", 0.9, [10.0, 0, 59, 49]), ("a", 0.8, [125.0, 0, 174, 49])]
    plain = evaluate(_detections(*shifted), _truth([False, False]), rounds=1)
    refined = evaluate(_detections(*shifted), _truth([False, False]))
    assert plain.labels.tolist() == [TRUE_POSITIVE, FALSE_POSITIVE]
    assert plain.refinements[0] == pytest.approx([-10 / 49, 0, 1, 1])
    assert refined.labels.tolist() == [TRUE_POSITIVE, TRUE_POSITIVE]
    assert refined.refinements.shape == (5, 4)


def test_without_a_right_box_nothing_moves() -> None:
    result = evaluate(_detections(("a", 0.9, NOWHERE)), _truth([False, False]))
    assert result.refinements.tolist() == [[0, 0, 1, 1]] * 5


@pytest.mark.parametrize("name", ["x", "x.jpg", "dir/x.y.jpg", "C:\\dir\\x.jpg"])
def test_image_key_is_the_file_name_up_to_its_first_dot(name: str) -> None:
    assert image_key(name) == "x"


def test_text_detections_are_read_in_order(tmp_path: Path) -> None:
    (tmp_path / "d.txt").write_bytes(b"b.jpg 0.5 1 2 3 4\r\n\r\na 1.5 5.5 6 7 8")
    detections = read_detections(tmp_path / "d.txt")
    assert detections.images == ["b", "a"]
    assert detections.scores.tolist() == [0.5, 1.5]
    assert detections.boxes.tolist() == [[1, 2, 3, 4], [5.5, 6, 7, 8]]


def test_malformed_text_detection_is_named(tmp_path: Path) -> None:
    (tmp_path / "d.txt").write_text("a 0.5 1 2 3 4\na 0.5 1 2 3\n")
    with pytest.raises(UserError, match=r"d\.txt:2: expected a row `score x1 y1 x2 y2`"):
        read_detections(tmp_path / "d.txt")


def test_folder_in_wider_format_is_read_too(tmp_path: Path) -> None:
    write_wider(tmp_path, "e/a.jpg", np.array([[1.0, 2, 31, 42]]), np.array([0.5]))
    write_wider(tmp_path, "b.jpg", np.zeros((0, 4)), np.zeros(0))
    detections = read_detections(tmp_path)
    assert detections.images == ["a"]
    assert detections.boxes.tolist() == [[1, 2, 31, 42]]


def test_no_tables_are_no_detections() -> None:
    assert from_tables({}).boxes.shape == (0, 4)


def _write_annotations(folder: Path) -> None:
    objects = np.array([[1, 1, 31, 31, 0, 0], [1, 1, 31, 30, 0, 0], [1, 1, 99, 99, 0, 1]])
    entry = np.zeros((1, 1), [("imgname", object), ("objects", object)])
    entry[0, 0] = ("a.jpg", objects)
    savemat(folder / "x.mat", {"Annotations": entry})
    rows = [f"a,{x1},{y1},{x2},{y2},{f},{i}\n" for x1, y1, x2, y2, f, i in objects]
    (folder / "x.csv").write_text("image,x1,y1,x2,y2,flag5,ignore\n" + "".join(rows))


@pytest.mark.parametrize("file", ["x.mat", "x.csv"])
def test_annotations_ignore_flagged_and_small_faces(tmp_path: Path, file: str) -> None:
    _write_annotations(tmp_path)
    faces = load_annotations(tmp_path / file)["a"]
    assert faces.boxes.tolist() == [[1, 1, 31, 31], [1, 1, 31, 30], [1, 1, 99, 99]]
    assert faces.ignored.tolist() == [False, True, True]


def test_annotations_saved_by_a_spreadsheet_are_read(tmp_path: Path) -> None:
    text = "image,x1,y1,x2,y2,ignore\r\na,1,1,31,31,0\r\n"
    (tmp_path / "x.csv").write_text(text, encoding="utf-8-sig")
    assert load_annotations(tmp_path / "x.csv")["a"].boxes.tolist() == [[1, 1, 31, 31]]


def test_an_error_does_not_repeat_a_binary_file(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"PK\x03\xb5" * 5000)
    with pytest.raises(UserError) as caught:
        load_annotations(tmp_path / "x.csv")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("file", ["x.mat", "x.csv"])
def test_damaged_annotations_are_named(tmp_path: Path, file: str) -> None:
    (tmp_path / file).write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=f"{file}: expected annotations"):
        load_annotations(tmp_path / file)


@pytest.mark.parametrize(
    ("dataset", "table", "counts"),
    [
        ("PASCAL", "pascal_faces_annotations.csv", (851, 1635, 1341)),
        ("AFW", "afw_annotations.csv", (205, 545, 473)),
    ],
)
def test_official_annotations_have_the_published_counts(
    test_data: Path, dataset: str, table: str, counts: tuple[int, int, int]
) -> None:
    folder = test_data / "pascal"
    official = load_annotations(folder / "annotations_mat" / ANNOTATIONS[dataset])
    faces = sum(len(f.boxes) for f in official.values())
    counted = sum(int((~f.ignored).sum()) for f in official.values())
    assert (len(official), faces, counted) == counts
    for image, from_text in load_annotations(folder / table).items():
        assert np.array_equal(from_text.boxes, official[image].boxes)
        assert np.array_equal(from_text.ignored, official[image].ignored)


def _golden_entries(folder: Path) -> list[dict[str, Any]]:
    content = json.loads((folder / "golden.json").read_text())
    return [entry for entry in content["entries"] if "input_text_file" in entry]


def test_known_detectors_score_as_officially(test_data: Path) -> None:
    folder = test_data / "pascal"
    entries = _golden_entries(folder)
    assert len(entries) == 8
    for entry in entries:
        annotations = folder / "annotations_mat" / ANNOTATIONS[entry["dataset"]]
        rounds = entry["refine_iterations_nit"]
        result = evaluate(
            read_detections(folder / entry["input_text_file"]),
            load_annotations(annotations),
            rounds=rounds,
        )
        assert result.curve.ap == pytest.approx(entry["ap"], abs=1e-9)
        steps = np.array(entry["refinement_steps_tx_ty_sx_sy"])
        assert result.refinements == pytest.approx(steps, abs=1e-12)
        name = f"labels_{entry['dataset']}_{entry['detector']}_nit{rounds}.txt"
        labels = np.loadtxt(folder / "expected" / name)
        assert np.array_equal(result.labels, labels)


def test_picasa_is_matched_from_a_tenth_on() -> None:
    faces = {"a": AnnotatedFaces(np.array([[0.0, 0, 39, 39]]), np.array([False]))}
    # 1,600 of 6,400 px: a quarter.
    found = ResultTable(["a"], np.array([0.5]), np.array([[0.0, 0, 79, 79]]))
    for method, label in (("Picasa", TRUE_POSITIVE), ("DPM", FALSE_POSITIVE)):
        result = evaluate(found, faces, rounds=1, minimum_iou=iou_of(method))
        assert result.labels.tolist() == [label]


def test_two_images_of_one_key_are_refused_and_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "image,x1,y1,x2,y2,ignore\na.1.jpg,0,0,40,40,0\na.2.jpg,0,0,40,40,0\n"
    )
    with pytest.raises(UserError, match=r"a\.1\.jpg and a\.2\.jpg would both have the result a"):
        load_annotations(tmp_path / "a.csv")
    tables = dict.fromkeys(["x/a", "y/a"], np.zeros((0, 5)))
    with pytest.raises(UserError, match="x/a and y/a would both have the result"):
        from_tables(tables)


def test_an_early_annotation_file_is_told_apart(test_data: Path) -> None:
    path = test_data / "pascal" / "annotations_mat" / "Annotations_Face_PASCALLayout_large.mat"
    with pytest.raises(UserError, match=r"no column for ignored faces.*large_fixed\.mat"):
        load_annotations(path)
