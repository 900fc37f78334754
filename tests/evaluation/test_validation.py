"""Evaluation while training is the evaluation of `ssh-tf evaluate`."""

from pathlib import Path

import pytest

from ssh_tf.data.synthetic import generate
from ssh_tf.errors import UserError
from ssh_tf.evaluation.run import evaluate_wider, open_annotated
from ssh_tf.evaluation.validation import validator
from ssh_tf.inference.detector import Detector
from tests.support.small import small_config, small_network


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wider")
    generate(folder, images=3, seed=0, split="val", size=(96, 120), smallest_px=20)
    return folder


def test_no_data_no_validation():
    assert validator(small_config()) is None


def test_it_finds_what_evaluate_finds_and_draws_pictures(root: Path, tmp_path: Path):
    config = small_config(validation={"wider_root": str(root), "pictures": 2})
    validate = validator(config)
    found = validate(small_network())
    detector = Detector(small_network(), config.detect)
    curves = evaluate_wider(detector, open_annotated(root), tmp_path)
    assert found.ap == {"all": curves["all"].ap}
    assert [picture.ndim for picture in found.pictures] == [3, 3]


def test_only_the_first_images_where_that_is_wanted(root: Path):
    wanted = {"wider_root": str(root), "images": 1, "pictures": 3}
    found = validator(small_config(validation=wanted))(small_network())
    assert len(found.pictures) == 1


def test_a_split_that_is_not_there_is_refused_before_training(root: Path):
    with pytest.raises(UserError, match="has no split 'test'"):
        validator(small_config(validation={"wider_root": str(root), "split": "test"}))
