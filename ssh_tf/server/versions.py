"""The versions of a model in a folder: the newest one that loads is served.

The folder may change at any time. One version is served at a time, as is TensorFlow Serving's
default. The old one serves until the new one is loaded and warm; requests on it end on it.
"""

import dataclasses
import gc
import logging
import threading
from pathlib import Path

from ssh_tf.errors import UserError
from ssh_tf.files import existing_folder
from ssh_tf.inference.model_folder import find_versions, is_saved_model
from ssh_tf.server.errors import ServingError, invalid, one_line
from ssh_tf.server.model import Model

_LOG = logging.getLogger(__name__)

POLL_SECONDS = 1.0  # TensorFlow Serving's --file_system_poll_wait_seconds.


@dataclasses.dataclass(frozen=True)
class VersionStatus:
    """State of a version in the words of `GetModelStatusResponse`.

    Attributes:
        state: `"LOADING"`, `"AVAILABLE"` or `"END"`.
        error: Why it is not served; `""` for none.
    """

    state: str
    error: str = ""


class Versions:
    """Loads what appears in a folder of versions.

    Args:
        folder: Holds the subfolders `1`, `2`, ...
        name: The model's name in requests.
        max_images: See `Model`.

    Raises:
        UserError: If there is no version, or the newest can't be loaded.
    """

    def __init__(self, folder: str | Path, name: str, max_images: int) -> None:
        self.name = name
        self._folder = existing_folder(folder, "the versions of an exported model: 1, 2, ...")
        self._max_images = max_images
        self._status: dict[int, VersionStatus] = {}
        self._broken: dict[int, tuple[int, ...]] = {}
        self._model: Model | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="versions", daemon=True)
        if is_saved_model(self._folder):
            raise UserError(f"{folder} is itself a SavedModel. Name the folder that holds it.")
        self.refresh()
        if self._model is None:
            raise UserError(f"{folder} holds no model to serve: {self._why_none()}.")

    def watch(self) -> None:
        """Looks for changes every second from now on, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Ends `watch`."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def get(self, name: str, version: int | None = None, label: str = "") -> Model:
        """Returns the model that a request asks for.

        Raises:
            ServingError: If it is not served.
        """
        if not name:
            raise invalid("ModelSpec has no name specified.")
        if label:
            raise invalid(f"Unrecognized servable version label: {label}")
        model = self._model
        if name != self.name or model is None or version not in (None, model.version):
            wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            raise ServingError("NOT_FOUND", f"Servable not found for request: {wanted}")
        return model

    def status(self, name: str, version: int | None = None) -> list[tuple[int, VersionStatus]]:
        """Returns the state of one version or of all, the newest first.

        Raises:
            ServingError: If there is none.
        """
        known = {} if name != self.name else dict(self._status)
        found = [
            (number, known[number])
            for number in sorted(known, reverse=True)
            if version in (None, number)
        ]
        if not found:
            which = "any versions" if version is None else f"version {version}"
            raise ServingError("NOT_FOUND", f"Could not find {which} of model {name}")
        return found

    def refresh(self) -> None:
        """Serves the newest version of the folder that loads.

        A version that failed is tried again once its files have changed.
        """
        with self._lock:
            for number, path in self._found().items():
                if self._model is not None and number == self._model.version:
                    return
                if self._broken.get(number) != _fingerprint(path) and self._load(number, path):
                    return

    def _found(self) -> dict[int, Path]:
        try:
            return find_versions(self._folder)
        except OSError:
            _LOG.exception("%s can't be read; what is loaded stays", self._folder)
            return {}

    def _load(self, number: int, path: Path) -> bool:
        before = _fingerprint(path)
        self._status[number] = VersionStatus("LOADING")
        try:
            model = Model(path, number, self._max_images)
        # Whatever a broken version raises, the one before it goes on.
        except Exception as error:
            message = one_line(f"{type(error).__name__}: {error}")
            _LOG.warning("Version %d can't be loaded: %s", number, message)
            self._broken[number] = before
            self._status[number] = VersionStatus("END", message)
            return False
        self._broken.pop(number, None)
        self._status[number] = VersionStatus("AVAILABLE")
        self._replace(model)
        _LOG.info("Version %d is served", number)
        return True

    def _replace(self, model: Model) -> None:
        previous, self._model = self._model, model
        if previous is not None:
            self._status[previous.version] = VersionStatus("END")
            # A SavedModel's functions are cycles: its weights would stay until the next round.
            del previous
            gc.collect()

    def _poll(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            try:
                self.refresh()
            # A folder that is being deleted must not end the watch.
            except OSError:
                _LOG.exception("%s can't be read; trying again", self._folder)

    def _why_none(self) -> str:
        broken = [f"version {number}: {state.error}" for number, state in self._status.items()]
        return "; ".join(broken) or "it has no version (ssh-tf export writes one)"


def _fingerprint(version: Path) -> tuple[int, ...]:
    """Changes with the files of a version, also while they are being copied."""
    files = sorted(version.rglob("*"))
    stats = [file.stat() for file in files if file.is_file()]
    return tuple(value for stat in stats for value in (stat.st_size, stat.st_mtime_ns))
