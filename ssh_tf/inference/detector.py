"""The detector: a model from any file, images in, boxes out."""

import functools
import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ssh_tf.config import DetectConfig, validate
from ssh_tf.errors import UserError
from ssh_tf.inference.ahead import attempt
from ssh_tf.inference.arrays import Boxes, Level, Outputs, difference, find_boxes, scale_levels
from ssh_tf.inference.batches import Batches
from ssh_tf.inference.contract import FaceDetector
from ssh_tf.inference.exported import ExportedDetector, find_saved_model
from ssh_tf.inference.memory import within_memory
from ssh_tf.inference.runtimes.choice import choose_runtime, load_runtime
from ssh_tf.model.ssh import SSH
from ssh_tf.model.weights import load_network
from ssh_tf.progress import Progress, silent
from ssh_tf.training.run_folder import Which, load_run, settings_of
from ssh_tf.zoo.models import find_model

_LOG = logging.getLogger(__name__)


class Detector(FaceDetector):
    """Finds faces in images with a network.

    Args:
        network: The detector's network.
        config: Scale, thresholds and precision; the official ones by default.
        runtime: What runs the network, one of `runtimes.choice.RUNTIMES`. Others than `tensorflow`
            take the weights as they are now; in float32, all find the same faces.
        batch: Of many images, how many of about one size the network sees at once. Results stay
            the same; it pays for small images on a GPU. More than one needs `tensorflow`.

    Attributes:
        network: As given.
        config: As given.
        runtime: What runs the network; of `auto`, what it chose.
        forward: Runs the network behind `Preprocess`, on what `prepare` gives.
        window: How many images are looked through for `batch` of one size.

    Raises:
        UserError: If the runtime is not installed or lacks the precision or batches.
        ValueError: If there is no such runtime.
    """

    def __init__(
        self,
        network: SSH,
        config: DetectConfig | None = None,
        *,
        runtime: str = "tensorflow",
        batch: int = 1,
    ) -> None:
        self.network = network
        self.config = config or DetectConfig()
        if batch > 1 and runtime not in ("tensorflow", "auto"):
            raise UserError(f"{runtime} runs one image at a time. Set `batch` to 1.")
        runtime = runtime if batch == 1 else "tensorflow"
        self.runtime = choose_runtime(runtime, self.config.precision)
        self.forward = load_runtime(self.runtime, network, self.config)
        self._batches: Batches | None = None
        if batch > 1:
            self._batches = Batches(network, self.config.precision, batch)
            self.window = self._batches.window

    @staticmethod
    def load(
        path: str | Path,
        *,
        which: Which = "last",
        runtime: str = "tensorflow",
        batch: int = 1,
        progress: Progress = silent,
        **settings: Any,
    ) -> "Detector | ExportedDetector":
        """Loads a detector and logs what kind of file it was found in.

        Args:
            path: A name of `ssh-tf models`, a run folder of `ssh-tf train`, a `.keras`,
                `.weights.h5` or `.caffemodel` file, or a SavedModel of `ssh-tf export`: a
                version's folder, or the folder of versions, of which the newest is taken.
            which: Of a run folder: the `last` network, or the `best` that was evaluated.
            runtime: What runs the network; see `Detector`. A SavedModel needs `tensorflow`.
            batch: See `Detector`. A SavedModel takes images one by one.
            progress: Told of a download, if a named model needs one.
            **settings: Fields of `DetectConfig` to change. The others are those of the run, or
                the official ones. A SavedModel has its own, for good.

        Raises:
            UserError: If `path` is none of these or can't be read, for a setting out of range, or
                for any setting together with a SavedModel.
        """
        named = find_model(path)
        version = None if named else find_saved_model(Path(path))
        is_run = not named and version is None and Path(path).is_dir()
        if which != "last" and not is_run:
            raise UserError(f"{path} is not a run folder: there is no {which} network to choose.")
        if named is not None:
            _LOG.info("Model: %s (%s)", named.name, named.summary)
            settings = {**named.settings, **settings}
            return Detector.load(named.file(progress), runtime=runtime, batch=batch, **settings)
        if version is not None:
            if settings:
                raise UserError(
                    f"{version} is a SavedModel, whose {', '.join(settings)} was fixed when it was "
                    "exported. Pass no settings, or load the network it was exported from."
                )
            if runtime not in ("tensorflow", "auto"):
                raise UserError(
                    f"{version} is a SavedModel, which TensorFlow runs, not {runtime}. Load the "
                    "network it was exported from."
                )
            if batch > 1:
                raise UserError(f"{version} is a SavedModel: it has no `batch`. Leave it out.")
            _LOG.info("Model: SavedModel %s", version)
            return ExportedDetector(version)
        if not Path(path).exists():
            raise UserError(
                f"{path} does not exist. Expected a run folder, a .keras, .weights.h5 or "
                ".caffemodel file, or a SavedModel."
            )
        run = settings_of(path)
        config = run.detect if run else DetectConfig()
        changed = {"detect": {**config.model_dump(), **settings}}
        config = validate(changed, origin="Detection").detect
        network = load_run(path, which) if is_run else load_network(path)
        suffix = "".join(Path(path).suffixes[-2:])
        kind = f"run folder {path}, {which} network" if is_run else f"{suffix} file {path}"
        _LOG.info("Model: %s", kind)
        return Detector(network, config, runtime=runtime, batch=batch)

    def fingerprint(self) -> str:
        """Returns one line that another network or another setting would change."""
        digest = hashlib.sha256()
        for weights in self.network.get_weights():
            digest.update(np.ascontiguousarray(weights).data)
        settings = {"weights_sha256": digest.hexdigest(), **self.config.model_dump(mode="json")}
        return json.dumps(settings | {"means": self.network.means})

    def find(self, pixels: np.ndarray) -> Boxes:
        """Finds the faces of one image; see `FaceDetector.find`."""
        with within_memory(pixels):
            scaled = self.prepare(pixels)
            return find_boxes(scaled, self._outputs(scaled), self.config)

    def prepare(self, pixels: np.ndarray) -> list[Level]:
        """Scales an image; see `FaceDetector.prepare`."""
        with within_memory(pixels):
            image = difference(pixels, self.network.means)
            return scale_levels(image, self.network.config.modules, self.config)

    def compute(self, prepared: Sequence[list[Level]]) -> list[Callable[[], Boxes]]:
        """Runs the network on several images; see `FaceDetector.compute`."""
        if self._batches is None:
            outputs = [attempt(functools.partial(self._outputs, scaled)) for scaled in prepared]
        else:
            outputs = self._batches.run(prepared, self._outputs)
        return [
            functools.partial(self._boxes, scaled, output)
            for scaled, output in zip(prepared, outputs, strict=True)
        ]

    def _outputs(self, scaled: list[Level]) -> list[Outputs]:
        """Runs the network on one image, level by level."""
        outputs = []
        for level in scaled:
            with within_memory(level.pixels):
                outputs.append(self.forward(level.pixels[np.newaxis]))
        return outputs

    def _boxes(self, scaled: list[Level], outputs: Callable[[], list[Outputs]]) -> Boxes:
        return find_boxes(scaled, outputs(), self.config)

    def __repr__(self) -> str:
        return f"Detector({self.network.name}, runtime={self.runtime!r}, {self.config!r})"
