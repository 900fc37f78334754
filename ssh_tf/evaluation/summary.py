"""What was evaluated, and what it is called. Must not import TensorFlow."""

from collections.abc import Collection
from dataclasses import dataclass, field

from ssh_tf.evaluation.truth import ALL, SETTINGS

THIS_RUN = "this run"
WIDER_VAL_IMAGES = 3226

_TITLES = {"wider": "WIDER FACE val", "fddb": "FDDB", "pascal": "Pascal Faces", "afw": "AFW"}


@dataclass(frozen=True, slots=True)
class Summary:
    """What was evaluated.

    Attributes:
        dataset: `wider`, `fddb`, `pascal` or `afw`.
        images: Images that were scored, those without detections included.
        detections: Boxes that were scored.
        seconds: Time the evaluation took, s, from the first image on, interruptions left out.
        unreadable: Names of the images that could not be read; their faces count as missed.
        name: What the detector is called in tables and figures.
    """

    dataset: str
    images: int
    detections: int
    seconds: float
    unreadable: list[str] = field(default_factory=list)
    name: str = THIS_RUN


def title_of(dataset: str, curves: Collection[str]) -> str:
    """Returns a figure's title: the data set, or what is counted in a set of one's own."""
    return "All annotated faces" if list(curves) == [ALL] else _TITLES[dataset]


def is_partial(summary: Summary, curves: Collection[str]) -> bool:
    """Tells whether published curves of WIDER FACE val are of more images than ours."""
    official = summary.dataset == "wider" and set(curves) <= set(SETTINGS)
    return official and summary.images != WIDER_VAL_IMAGES
