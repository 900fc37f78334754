"""WIDER FACE's annotations as MATLAB files: those for training and the ground truth for scoring.

Must not import TensorFlow.
"""

import io
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from ssh_tf.data.annotations import ATTRIBUTES, AnnotatedImage, check_name
from ssh_tf.errors import UserError


def read_mat(content: bytes, file: Path, variable: str) -> np.ndarray:
    """Returns a variable of a MATLAB file (version 5 to 7, not the HDF5 of 7.3).

    Args:
        content: The file's bytes.
        file: What it is called in errors.
        variable: Its name.

    Raises:
        UserError: If the file is damaged or has no such variable.
    """
    try:
        return np.asarray(loadmat(io.BytesIO(content), variable_names=[variable])[variable])
    # SciPy raises whatever the damaged bytes lead to.
    except Exception as error:
        raise UserError(
            f"{file}: expected a MATLAB file with `{variable}`, received {error!r}. Get it again."
        ) from error


def read_cells(content: bytes, file: Path, variable: str) -> list[list[np.ndarray]]:
    """Returns a cell array of cell columns, event by event, image by image; see `read_mat`."""
    return [
        [image.item() if image.dtype == object else image for image in event.ravel()]
        for event in read_mat(content, file, variable).ravel()
    ]


def read_mat_annotations(content: bytes, file: Path) -> list[AnnotatedImage]:
    """Reads `wider_face_train.mat` or `wider_face_val.mat`.

    Args:
        content: The file's bytes.
        file: What it is called in errors.

    Returns:
        The images in the file's order, with the boxes that it has, those of zeros included.

    Raises:
        UserError: If it is another file, or damaged.
    """
    images = []
    try:
        events = read_mat(content, file, "event_list").ravel()
        stems = read_cells(content, file, "file_list")
        boxes = read_cells(content, file, "face_bbx_list")
        labels = [read_cells(content, file, f"{name}_label_list") for name in ATTRIBUTES]
        for number, event in enumerate(events):
            for i, stem in enumerate(stems[number]):
                name = check_name(f"{event.item()}/{stem.item()}.jpg", str(file))
                table = np.asarray(boxes[number][i], np.float32).reshape(-1, 4)
                columns = [np.asarray(label[number][i], np.int64).ravel() for label in labels]
                images.append(_image(name, table, np.stack(columns, axis=-1)))
    except (ValueError, IndexError, TypeError, AttributeError) as error:
        raise UserError(
            f"{file}: its lists of images, boxes and attributes do not fit together ({error}). "
            "Get it again."
        ) from error
    return images


def _image(name: str, boxes: np.ndarray, attributes: np.ndarray) -> AnnotatedImage:
    if len(boxes) != len(attributes):
        raise ValueError(f"{name} has {len(boxes)} boxes and {len(attributes)} attributes")
    if not np.isfinite(boxes).all():
        raise ValueError(f"a box of {name} is not finite")
    return AnnotatedImage(name, boxes, attributes)
