"""Which class of a data set is the face. Must not import TensorFlow."""

from collections.abc import Collection

from ssh_tf.errors import UserError


def face_class(classes: Collection[str], wanted: str | None, source: object) -> str | None:
    """Chooses the class whose boxes are faces.

    Args:
        classes: Names of the classes that the data set has; `0`, `1`, ... where it has no names.
        wanted: The one to take, in any case of letters; by default `face`, or `0` if it is alone.
        source: What the data set is called in the error.

    Returns:
        One of `classes`; None if there is none.

    Raises:
        UserError: If that class is not there.
    """
    if not classes or wanted in classes:
        return wanted if classes else None
    if wanted is None and set(classes) == {"0"}:
        return "0"
    name = wanted or "face"
    found = {known for known in classes if known.casefold() == name.casefold()}
    if len(found) == 1:
        return found.pop()
    there = ", ".join(sorted({repr(known[:40]) for known in classes})[:20])
    raise UserError(
        f"{source}: expected boxes of class {name[:40]!r}. Classes there: {there}. "
        "Name the one that is the face."
    )
