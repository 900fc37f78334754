"""The named models. What is measured of them, and how: docs/models.md. No TensorFlow here."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssh_tf.progress import Progress, silent


@dataclasses.dataclass(frozen=True)
class NamedModel:
    """A detector that a name stands for.

    Attributes:
        name: What `--model` and `ssh_tf.load` take.
        summary: Trunk, and what it was trained on, in a line.
        ap: Average precision, with the data it was measured on.
        milliseconds: Per image of 640 x 480 px on two CPU cores; None: not measured.
        megabytes: Size of the file that is shipped or downloaded.
        license: Of the weights.
        settings: Fields of `DetectConfig` it was measured with, where they are not the defaults.
        shipped: Name of the file in this folder; None: it is downloaded.
    """

    name: str
    summary: str
    ap: str
    milliseconds: float | None
    megabytes: float
    license: str
    settings: Mapping[str, Any]
    shipped: str | None = None

    def file(self, progress: Progress = silent) -> Path:
        """Returns the file of the weights, which is downloaded if it is not there yet.

        Raises:
            UserError: If it can't be downloaded or kept.
        """
        if self.shipped is not None:
            return Path(__file__).with_name(self.shipped)
        from ssh_tf.zoo.official import official_file

        return official_file(progress)


LIGHT = NamedModel(
    name="light",
    summary="MobileNet 0.25, trained on 1,910 photos",
    ap="0.810 on 298 photos",
    milliseconds=26.5,
    megabytes=1.4,
    license="Apache-2.0; photos for research use",
    settings={"shorter_px": 480, "longer_px": 768, "exact_decode": True},
    shipped="light.weights.h5",
)
OFFICIAL = NamedModel(
    name="official",
    summary="VGG-16, the authors' weights, trained on WIDER FACE",
    ap="0.919 / 0.907 / 0.814 on WIDER val (published)",
    milliseconds=1107,
    megabytes=75.0,
    license="MIT; WIDER FACE is for research use",
    settings={},
)
# What is used where none is named.
DEFAULT = LIGHT
MODELS: Mapping[str, NamedModel] = {model.name: model for model in (LIGHT, OFFICIAL)}


def find_model(name: str | Path) -> NamedModel | None:
    """Returns the model of a name, else None. A folder of that name is `./light`."""
    return MODELS.get(name) if isinstance(name, str) else None
