"""Draws a cartoon face data set in WIDER FACE's layout, so that everything runs without it.

Pure drawing with seeded generators. Must not import TensorFlow.

A picture is a background, things that look a bit like faces, then people from far to near, then
the camera (tint, blur, noise). Heads are drawn in face units: the origin is the middle of the
face, `v` runs from -1 at the hairline to 1 at the chin, `u` from -0.8 to 0.8 cheek to cheek.

Modules may import those to their right only:
`dataset > scene > (backgrounds > things) | (heads > people) > shapes > colors`.
"""

from ssh_tf.data.synthetic.dataset import SMALLEST_MEAN_SIDE_PX, generate
from ssh_tf.data.synthetic.people import LARGEST_FACE_PX, SMALLEST_FACE_PX
from ssh_tf.data.synthetic.scene import SMALLEST_SIDE_PX, draw_image

__all__ = [
    "LARGEST_FACE_PX",
    "SMALLEST_FACE_PX",
    "SMALLEST_MEAN_SIDE_PX",
    "SMALLEST_SIDE_PX",
    "draw_image",
    "generate",
]
