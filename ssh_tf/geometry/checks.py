"""Guards of the public functions, here and in `model.losses`."""

from collections.abc import Sequence
from typing import Any

Tensor = Any


def check_shapes(**tensors: tuple[Tensor, str]) -> None:
    """Refuses tensors of another shape than the expected one, as far as shapes are known.

    Args:
        **tensors: By the argument's name: the tensor and its dimensions, such as `"B N 4"`. A
            number is that size, a letter the same size everywhere in a call, `...` at the front any
            dimensions. A size that is only known when the graph runs fits everything.

    Raises:
        ValueError: Names the argument, the expected shape and the received one.
    """
    sizes: dict[str, int] = {}
    for name, (tensor, dimensions) in tensors.items():
        shape, expected = _static_shape(tensor), dimensions.split()
        if shape is None or _fits(shape, expected, sizes):
            continue
        known = ", ".join(f"{letter} = {sizes[letter]}" for letter in expected if letter in sizes)
        raise ValueError(
            f"`{name}` must have the shape [{', '.join(expected)}]{known and f' with {known}'}. "
            f"Received: {shape}"
        )


def check(condition: bool, rule: str, received: object) -> None:
    """Refuses an argument for which a condition does not hold.

    Args:
        condition: Of Python's numbers, not of tensors.
        rule: What must be, such as "`stride` must be positive".
        received: The argument.

    Raises:
        ValueError: With both.
    """
    if not condition:
        raise ValueError(f"{rule}. Received: {received!r}")


def _static_shape(tensor: Tensor) -> tuple[int | None, ...] | None:
    """Returns a tensor's shape before the graph runs; None where not even its rank is known."""
    shape = tensor.shape
    return None if getattr(shape, "rank", 0) is None else tuple(shape)


def _fits(shape: Sequence[int | None], expected: list[str], sizes: dict[str, int]) -> bool:
    """Compares a shape with the expected one, and adds to `sizes` what letters stand for."""
    if expected[0] == "...":
        expected = expected[1:]
        shape = shape[max(0, len(shape) - len(expected)) :]
    return len(shape) == len(expected) and all(
        size is None or size == (int(name) if name.isdigit() else sizes.setdefault(name, size))
        for size, name in zip(shape, expected, strict=True)
    )
