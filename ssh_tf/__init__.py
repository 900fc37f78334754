"""SSH, the Single Stage Headless face detector (ICCV 2017), in TensorFlow and Keras 3.

    import ssh_tf

    detector = ssh_tf.load()  # the shipped model; or a name, a run folder, a file
    faces = detector.detect("photo.jpg")

`ssh_tf.Detector` and `ssh_tf.Config` are here as well. All three are imported when they are used:
`import ssh_tf` itself imports no TensorFlow.
"""

from typing import TYPE_CHECKING, Any

from ssh_tf.version import __version__ as __version__

if TYPE_CHECKING:
    from pathlib import Path

    from ssh_tf.config import Config as Config
    from ssh_tf.inference.detector import Detector as Detector
    from ssh_tf.inference.exported import ExportedDetector

__all__ = ["Config", "Detector", "__version__", "load"]


def load(path: "str | Path" = "light", **settings: Any) -> "Detector | ExportedDetector":
    """Loads a detector, by default the shipped one: see `ssh_tf.Detector.load`."""
    from ssh_tf.environment import prefer_tensorflow

    prefer_tensorflow()
    from ssh_tf.inference.detector import Detector

    return Detector.load(path, **settings)


def __getattr__(name: str) -> Any:
    if name == "Config":
        from ssh_tf.config import Config

        return Config
    if name == "Detector":
        from ssh_tf.environment import prefer_tensorflow

        prefer_tensorflow()
        from ssh_tf.inference.detector import Detector

        return Detector
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
