"""One experiment: all groups of settings, and the YAML files that hold them."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ssh_tf.config.base import Settings
from ssh_tf.config.detection import DetectConfig
from ssh_tf.config.model import LossConfig, ModelConfig, ModuleConfig
from ssh_tf.config.training import DataConfig, TrainConfig, ValidationConfig
from ssh_tf.errors import UserError
from ssh_tf.files import existing_file

# No file of settings is longer; neither is what a mistaken path leads to read in full.
_MOST_BYTES = 1_000_000


class Config(Settings):
    """One experiment."""

    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
    validation: ValidationConfig = ValidationConfig()
    detect: DetectConfig = DetectConfig()


class _Loader(yaml.SafeLoader):
    """SafeLoader with the rules of YAML 1.2, and without what few bytes make large.

    `1e-4` is a number (in PyYAML's YAML 1.1 it is a text), a key that stands twice in a group is an
    error (PyYAML drops the first), and aliases are refused.
    """

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Makes the next node."""
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(
                None, None, f"aliases like *{event.anchor} are not supported", event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """Makes a dict of a mapping's node."""
        known = set()
        for key, _ in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else key
            if name in known:
                raise yaml.MarkedYAMLError(None, None, f"{name} is there twice", key.start_mark)
            known.add(name)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def shipped(path: str | Path) -> Path:
    """Returns the package's own file for `configs/NAME.yaml` where there is no such file.

    A checkout has `configs/` beside the package, an installed package has it inside.
    """
    path, package = Path(path), Path(__file__).parents[1]
    if path.parts[:1] == ("configs",) and not path.exists():
        found = [root / path for root in (package, package.parent) if (root / path).is_file()]
        return found[0] if found else path
    return path


def load(path: str | Path, overrides: Iterable[str] = ()) -> Config:
    """Reads a YAML file of settings and applies overrides.

    Args:
        path: The file, or `configs/NAME.yaml` for the package's own. Keys that it does not name
            have the defaults above.
        overrides: `a.b=c` each; `c` is read as YAML, so `[1, 2]`, `true` and `1e-4` work.

    Returns:
        The validated settings.

    Raises:
        UserError: For a missing or malformed file, an unknown key or a value of the wrong type.
    """
    file = existing_file(shipped(path), "a YAML file of settings, like those in configs/")
    if file.stat().st_size > _MOST_BYTES:
        raise UserError(f"{file} is no file of settings: it has more than {_MOST_BYTES} bytes.")
    try:
        data = _parse(file.read_text(encoding="utf-8"))
    except ValueError as error:  # UnicodeDecodeError is one.
        raise UserError(f"{file} is not valid YAML: {error}") from error
    data = {} if data is None else data
    if not isinstance(data, dict):
        raise UserError(f"{file} must hold `key: value` lines. Received: {type(data).__name__}.")
    for override in overrides:
        _apply_override(data, override)
    return validate(data, origin=str(file))


def validate(data: Mapping[str, Any], *, origin: str) -> Config:
    """Turns plain data into settings.

    Args:
        data: Nested mappings of plain YAML values.
        origin: Where the data came from, for the error message.

    Returns:
        The validated settings.

    Raises:
        UserError: Naming the first offending key, with the known keys or the expected type.
    """
    try:
        text = json.dumps(data, default=str)
    except (TypeError, ValueError) as error:
        raise UserError(f"{origin}: expected names as keys and plain values ({error}).") from error
    try:
        # Strict JSON validation: lists become tuples, but "yes" never becomes 1, nor 1.5 an int.
        return Config.model_validate_json(text, strict=True)
    except ValidationError as error:
        raise UserError(f"{origin}: {_explain(error)}") from error


def to_yaml(config: Config) -> str:
    """Returns all settings as YAML that `load` reads back to an equal `Config`."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _parse(text: str) -> Any:
    """Reads YAML.

    Raises:
        ValueError: If it is none, in one line. Integers of thousands of digits and dates that are
            none raise it within PyYAML.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _apply_override(data: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise UserError(f"Override {override!r} must have the form a.b=c, like train.steps=100.")
    *parents, leaf = key.split(".")
    for parent in parents:
        data = data.setdefault(parent, {})
        if not isinstance(data, dict):
            raise UserError(f"Override {override!r}: `{parent}` is a value and no group.")
    try:
        data[leaf] = _parse(text)
    except ValueError as error:
        raise UserError(f"Override {override!r}: {text!r} is not a YAML value.") from error


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    location = first["loc"]
    key = ".".join(str(part) for part in location)
    if first["type"] == "extra_forbidden":
        known = ", ".join(sorted(_known_keys(location[:-1])))
        return f"unknown key `{key}`. Known keys here: {known}."
    message = first["msg"].removeprefix("Value error, ")
    # Our own checks of a whole group name what they received.
    whole = first["type"] == "value_error" and isinstance(first["input"], dict)
    return f"`{key}`: {message}." + ("" if whole else f" Received: {first['input']!r}.")


def _known_keys(location: tuple[int | str, ...]) -> Iterable[str]:
    group: type[Settings] = Config
    for part in location:
        if isinstance(part, str):
            annotation = group.model_fields[part].annotation
            group = ModuleConfig if part == "modules" else annotation  # type: ignore[assignment]
    return group.model_fields
