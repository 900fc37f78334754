"""Paints a person, feature by feature, in face units."""

import math

import numpy as np

from ssh_tf.data.synthetic.colors import Color, scaled
from ssh_tf.data.synthetic.people import Look, face_outline
from ssh_tf.data.synthetic.shapes import Pen, arc, blob, rotation


def paint_person(pen: Pen, look: Look) -> list[np.ndarray]:
    """Paints body and head; returns the polygons, in feature units, that cover the face."""
    head = pen.mapped(tilted(look))
    inner = head.mapped(turned(look))
    _paint_back_hair(head, look)
    _paint_body(pen, look)
    _paint_skull(head, look)
    if look.beard:
        _paint_beard(head, look)
    _paint_eyes(inner, look)
    _paint_nose(inner, look)
    _paint_mouth(inner, look)
    _paint_front_hair(head, look)
    if look.accessory in ("hat", "cap"):
        _paint_headgear(head, look)
        return []
    return _paint_on_face(inner, look)


def tilted(look: Look) -> np.ndarray:
    """Returns the `[2, 3]` map from the units of the tilted head to face units."""
    return np.concatenate([rotation(look.tilt), np.zeros((2, 1))], axis=1)


def turned(look: Look) -> np.ndarray:
    """Returns the `[2, 3]` map of the features of a head that is turned to a side."""
    return np.array([[1 - 0.2 * abs(look.yaw), 0, 0.26 * look.yaw], [0, 1, 0]])


def _paint_back_hair(pen: Pen, look: Look) -> None:
    dark = scaled(look.hair, 0.8)
    if look.hair_style == "long":
        pen.fill(blob(0, 0.1, 1.08, 1.4), dark)
        pen.fill(np.array([[-1.05, 0], [1.05, 0], [1.1, 1.7], [-1.1, 1.7]]), dark)
    elif look.hair_style == "afro":
        pen.fill(blob(0, -0.35, 1.3, 1.2), look.hair)
    elif look.hair_style == "bun":
        pen.fill(blob(0, -1.4, 0.42, 0.4), dark)


def _paint_body(pen: Pen, look: Look) -> None:
    x, y = rotation(look.tilt) @ [0, 0.6]
    neck = np.array([[x - 0.42, y], [x + 0.42, y], [0.5, 1.6], [-0.5, 1.6]])
    for side in (-1, 1):
        leg = np.array([[0, 5.4], [side * 1.5, 5.4], [side * 1.3, 8.0], [side * 0.4, 8.0]])
        pen.fill(leg, scaled(look.shirt[::-1], 0.6))
    pen.fill(blob(0, 3.1, 2.1, 1.75), look.shirt)
    pen.fill(np.array([[-2.1, 3.1], [2.1, 3.1], [1.6, 5.8], [-1.6, 5.8]]), look.shirt)
    pen.fill(blob(0, 1.42, 0.6, 0.25), scaled(look.shirt, 0.8))
    pen.fill(neck, scaled(look.skin, 0.78))


def _paint_skull(pen: Pen, look: Look) -> None:
    outline = face_outline(look)
    for side in (-1, 1):
        if side * look.yaw > -0.4:  # The far ear hides when the head turns.
            pen.fill(blob(side * -0.8, 0.02, 0.13, 0.22), scaled(look.skin, 0.85))
    temples = look.skin if look.hair_style == "bald" else look.hair
    pen.fill(blob(0, -0.45, 0.8, 0.6), temples)
    pen.fill(outline, scaled(look.skin, 0.86))
    pen.fill(outline * [0.95, 0.96] - [0, 0.015], look.skin)


def _paint_beard(pen: Pen, look: Look) -> None:
    outline = face_outline(look)
    jaw = outline[outline[:, 1] > 0.15]
    low = jaw[np.argsort(-jaw[:, 0])]
    pen.fill(np.concatenate([low, [[-0.4, 0.42], [0, 0.3], [0.4, 0.42]]]), look.hair)


def _paint_eyes(pen: Pen, look: Look) -> None:
    dark = scaled(look.skin, 0.25)
    for side in (-1, 1):
        x, y, size = side * 0.34, -0.13, look.eye
        pen.fill(blob(x, y, 0.25, 0.17), scaled(look.skin, 0.8))
        pen.fill(blob(x, y, 0.17 * size, 0.1 * size), (238, 236, 232))
        pen.fill(blob(x + 0.05 * look.yaw, y, 0.09 * size, 0.1 * size), (62, 44, 36))
        pen.fill(blob(x + 0.05 * look.yaw, y, 0.045 * size, 0.05 * size), (10, 8, 8))
        pen.stroke(arc(x, y + 0.02, 0.18 * size, 0.13 * size, 1.08, 1.92), dark, 0.035)
        brow = arc(x + side * 0.02, y - 0.02, 0.24, 0.24, 1.18, 1.82)
        pen.stroke(brow, scaled(look.hair, 0.75), 0.075)


def _paint_nose(pen: Pen, look: Look) -> None:
    side = 1 if look.yaw >= 0 else -1
    bridge = np.array([[0, -0.15], [side * 0.15, 0.24], [0, 0.28]])
    pen.fill(bridge, scaled(look.skin, 0.82))
    for x in (-0.075, 0.075):
        pen.fill(blob(x, 0.25, 0.045, 0.03), scaled(look.skin, 0.4))


def _paint_mouth(pen: Pen, look: Look) -> None:
    lips: Color = (0.75 * look.skin[0], 0.45 * look.skin[1], 0.45 * look.skin[2])
    inside: Color = (70, 20, 24)
    if look.mouth == "closed":
        pen.fill(blob(0, 0.55, 0.28, 0.075), lips)
        pen.stroke(np.array([[-0.27, 0.55], [0.27, 0.55]]), scaled(lips, 0.6), 0.03)
    elif look.mouth == "smile":
        pen.stroke(arc(0, 0.4, 0.34, 0.22, 0.08, 0.92), scaled(lips, 0.75), 0.08)
    elif look.mouth == "teeth":
        pen.fill(arc(0, 0.44, 0.37, 0.27, 0, 1), lips)
        pen.fill(arc(0, 0.47, 0.3, 0.18, 0, 1), (244, 242, 236))
    else:
        size = 1.0 if look.mouth == "open" else 1.75
        pen.fill(blob(0, 0.58, 0.22 * math.sqrt(size), 0.14 * size), lips)
        pen.fill(blob(0, 0.58, 0.17 * math.sqrt(size), 0.1 * size), inside)


def _paint_front_hair(pen: Pen, look: Look) -> None:
    """Paints the hair on top of the skull, its lower edge about at the hairline."""
    if look.hair_style == "bald":
        return
    rise = {"buzz": 0.06, "afro": 0.5, "long": 0.3}.get(look.hair_style, 0.22)
    dips = {"side": (0.12, 0.5), "fringe": (0.42, 0.42), "buzz": (0.12, 0.12)}
    left, right = dips.get(look.hair_style, (0.15, 0.15))
    crown = arc(0, -0.3, 0.88, 0.86 + rise, 1, 2, 24)
    edge = np.array([[0.82, -0.1], [0.7, -0.62], [0.35, right - 1.0], [0, -1.02]])
    edge[3, 1] = (left + right) / 2 - 1.05
    mirrored = edge[:3][::-1] * [-1, 1]
    mirrored[0, 1] = left - 1.0
    pen.fill(np.concatenate([crown, edge, mirrored]), look.hair)


def _paint_headgear(pen: Pen, look: Look) -> None:
    color = scaled(look.shirt, 0.7 if sum(look.shirt) > 300 else 1.4)
    pen.fill(arc(0, -0.8, 0.92, 0.8, 1, 2, 24), color)
    if look.accessory == "hat":
        pen.fill(blob(0, -0.83, 1.5, 0.17), scaled(color, 0.8))
    else:
        pen.fill(arc(0.25 * look.yaw, -0.85, 0.75, 0.26, 0, 1), scaled(color, 0.65))


def _paint_on_face(pen: Pen, look: Look) -> list[np.ndarray]:
    """Paints glasses or a mask; returns what hides skin, glass one can see through does not."""
    lenses = [blob(side * 0.35, -0.1, 0.27, 0.22) for side in (-1, 1)]
    if look.accessory == "mask":
        mask = np.array([[-0.8, 0.1], [0, 0.0], [0.8, 0.1], [0.7, 0.6], [0.3, 1.0], [-0.3, 1.0]])
        mask = np.concatenate([mask, [[-0.7, 0.6]]])
        cloth: Color = (186, 208, 222)
        pen.fill(mask, cloth)
        for y in (0.3, 0.55):
            pen.stroke(np.array([[-0.6, y], [0.6, y]]), scaled(cloth, 0.85), 0.03)
        return [mask]
    if look.accessory in ("glasses", "sunglasses"):
        for lens in lenses:
            if look.accessory == "sunglasses":
                pen.fill(lens, (24, 24, 30))
            pen.stroke(np.concatenate([lens, lens[:1]]), (30, 26, 26), 0.05)
        pen.stroke(np.array([[-0.08, -0.12], [0.08, -0.12]]), (30, 26, 26), 0.05)
    return lenses if look.accessory == "sunglasses" else []
