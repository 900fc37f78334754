"""Draws the network and the inside of a detection module, from the graph of the model itself."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from docs.tools.draw.graph import Step, steps
from docs.tools.draw.svg import FAINT, INK, MODULES, arrow, document, rectangle, words
from ssh_tf.config import ModelConfig
from ssh_tf.geometry.anchors import BASE_PX


class Place(NamedTuple):
    """Where a box stands: its middle and its size, px."""

    x: float
    y: float
    width: float
    height: float = 48


# Middle and width of the overview's columns, px, and the rows of what stands in them.
_TRUNK, _FUSION, _MODULES = (94, 156), (316, 176), (540, 168)
_ROWS = {
    "image": (_TRUNK, 0),
    "block1": (_TRUNK, 1),
    "block2": (_TRUNK, 2),
    "block3": (_TRUNK, 3),
    "block4": (_TRUNK, 4),
    "block5": (_TRUNK, 5),
    "pool": (_TRUNK, 6.4),
    "fuse_conv4_reduce": (_FUSION, 2.6),
    "sum": (_FUSION, 3.35),
    "fuse_conv5_upsample": (_FUSION, 4.1),
    "fuse_conv5_reduce": (_FUSION, 5),
    "fuse_conv": (_MODULES, 3.35),
}
# Which rows the modules of each stride stand in.
_MODULE_ROWS = {8: 2.4, 16: 5.7, 32: 6.4}
_SUM_PX = 24


def draw_network(config: ModelConfig) -> str:
    """Returns the whole network as SVG: trunk, fusion, modules.

    Args:
        config: An architecture with VGG-16's trunk.
    """
    graph = steps(config)
    parts = {name: _part(step, graph) for name, step in graph.items()}
    rows = _ROWS | {each.name: (_MODULES, _MODULE_ROWS[each.stride]) for each in config.modules}
    boxes = {name: Place(x, 62 + 80 * row, width) for name, ((x, width), row) in rows.items()}
    boxes["sum"] = boxes["sum"]._replace(width=_SUM_PX, height=_SUM_PX)
    titles = [(_TRUNK, "trunk"), (_FUSION, "fusion"), (_MODULES, "detection modules")]
    drawn = [words(x, 24, text, font_weight="bold") for (x, _), text in titles]
    edges = {("image", "block1")} | {
        (parts[before], parts[name])
        for name, step in graph.items()
        for before in step.inputs
        if parts[before] != parts[name]
    }
    drawn += [_edge(boxes[a], boxes[b]) for a, b in sorted(edges)]
    texts = _overview(graph, parts, config)
    colors = {module.name: color for module, color in zip(config.modules, MODULES, strict=True)}
    for name in {"image": "", **dict.fromkeys(parts.values())}:
        drawn.append(_box(boxes[name], *texts[name], color=colors.get(name)))
    return document(640, 620, "The SSH network: trunk, fusion, detection modules", drawn)


def draw_module(config: ModelConfig, name: str) -> str:
    """Returns the inside of a detection module as SVG: what it sees directly, and its context.

    Args:
        config: The architecture.
        name: The module's.
    """
    graph = steps(config)
    inside = {each: step for each, step in graph.items() if _part(step, graph) == name}
    columns = {"conv3x3": 98, "context_reduce": 408, "context_5x5": 300, "context_7x7_1": 516}
    columns |= {"context_7x7_2": 516, "join": 300, "cls": 168, "box": 432}
    rows = {"conv3x3": 1, "context_reduce": 1, "context_5x5": 3, "context_7x7_1": 2}
    rows |= {"context_7x7_2": 3, "join": 4, "cls": 5, "box": 5}
    boxes = {key: Place(columns[key], 36 + 78 * row, 176) for key, row in rows.items()}
    boxes |= {key: boxes[key]._replace(width=256) for key in ("cls", "box")}
    boxes["features"] = Place(300, 36, 236)
    keys = {each: "join" if "concat" in each else each.removeprefix(f"{name}_") for each in inside}
    (module,) = (module for module in config.modules if module.name == name)
    edges = {
        (keys.get(before, "features"), keys[each])
        for each, step in inside.items()
        for before in step.inputs
    }
    drawn = [_edge(boxes[a], boxes[b]) for a, b in sorted(edges)]
    texts = {keys[each]: [step.text, _seen(keys[each])] for each, step in inside.items()}
    texts["features"] = ["features", f"1 cell = {module.stride} × {module.stride} px"]
    if config.context:
        texts["join"][1] = f"{2 * module.channels} channels"
    anchors = len(module.anchor_scales)
    texts["cls"][1] = f"{anchors} anchors × (background, face)"
    texts["box"][1] = f"{anchors} anchors × (dx, dy, dw, dh)"
    color = MODULES[[each.name for each in config.modules].index(name)]
    for key, lines in texts.items():
        drawn.append(_box(boxes[key], *lines, color=color if key in ("cls", "box") else None))
    return document(620, 466, f"The detection module {name.upper()} and its context", drawn)


def _seen(key: str) -> str:
    """Returns which part of the features a convolution of a module sees."""
    sides = {"conv3x3": 3, "context_reduce": 3, "context_7x7_1": 5}
    sides |= {"context_5x5": 5, "context_7x7_2": 7}
    return f"sees {sides[key]}×{sides[key]} cells" if key in sides else ""


def _part(step: Step, graph: Mapping[str, Step]) -> str:
    """Returns which box of the overview a step belongs to."""
    if step.kind == "MaxPooling2D":
        after = [name for name, each in graph.items() if step.name in each.inputs]
        return next((n.partition("_")[0] for n in after if n.startswith("block")), "pool")
    if step.kind == "Concatenate":
        return step.inputs[0].partition("_")[0]
    if step.kind == "Add":
        return "sum"
    return step.name if step.name.startswith("fuse") else step.name.partition("_")[0]


def _overview(
    graph: Mapping[str, Step], parts: Mapping[str, str], config: ModelConfig
) -> dict[str, list[str]]:
    """Returns the lines of text in each box of the overview."""
    texts = {"image": ["image", "H × W × 3"]}
    stride = 1
    for part in dict.fromkeys(parts.values()):
        inside = [step for name, step in graph.items() if parts[name] == part]
        if part.startswith("block") or part == "pool":
            stride *= 2 ** sum(step.kind == "MaxPooling2D" for step in inside)
            name = "max pool 2×2" if part == "pool" else _counted(inside)
            texts[part] = [name, f"H/{stride} × W/{stride}" if stride > 1 else "H × W"]
        else:
            name = "upsample ×2" if inside[0].kind == "BilinearUpsample" else inside[0].text
            texts[part] = [name]
    for module in config.modules:
        sides = ", ".join(f"{scale * BASE_PX:g}" for scale in module.anchor_scales)
        texts[module.name] = [f"{module.name.upper()}, stride {module.stride}"]
        texts[module.name].append(f"anchors {sides} px")
    return texts


def _counted(inside: Iterable[Step]) -> str:
    ((text, count),) = Counter(step.text for step in inside if step.kind == "Conv2D").items()
    return f"{count} × {text}"


def _box(place: Place, *lines: str, color: str | None = None) -> str:
    """Draws a box with one or two lines; a sum is a circle."""
    x, y, width, height = place
    if lines == ("sum",):
        circle = f'<circle cx="{x}" cy="{y:.4g}" r="{_SUM_PX / 2}" fill="#fff" stroke="{FAINT}"/>'
        return circle + words(x, y + 5, "+", font_size=18)
    style = {"fill": "#fff", "stroke": color or FAINT, "stroke_width": 3 if color else 1}
    shape = rectangle(x - width / 2, y - height / 2, width, height, radius=6, **style)
    first, *second = (line for line in lines if line)
    if not second:
        return shape + words(x, y + 5, first)
    bold = {"font_weight": "bold"} if color else {}
    below = words(x, y + 15, second[0], fill=INK if color else FAINT)
    return shape + words(x, y - 4, first, **bold) + below


def _edge(start: Place, end: Place) -> str:
    """Draws an arrow between two boxes: straight, or around corners."""
    down = 1 if end.y > start.y else -1
    foot = start.y + down * start.height / 2
    top = end.y - down * (end.height / 2 + 2)
    if start.x == end.x:
        return arrow((start.x, foot), (start.x, top))
    if abs(end.x - start.x) < (start.width + end.width) / 2:  # One is above the other.
        middle = (foot + top) / 2
        return arrow((start.x, foot), (start.x, middle), (end.x, middle), (end.x, top))
    right = 1 if end.x > start.x else -1
    out = start.x + right * start.width / 2
    into = end.x - right * (end.width / 2 + 2)
    if start.y == end.y:
        return arrow((out, start.y), (into, end.y))
    turn = out + right * 12
    return arrow((out, start.y), (turn, start.y), (turn, end.y), (into, end.y))
