"""Tests of the settings: defaults, YAML, overrides and what is refused."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from ssh_tf.config import Config, load, to_yaml, validate
from ssh_tf.errors import UserError

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
MODULE = "{name: m1, stride: 8, channels: 128, anchor_scales: [1, 2], allowed_border: 0}"


def write(folder: Path, text: str) -> Path:
    file = folder / "settings.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def refusal(folder: Path, text: str, *overrides: str) -> str:
    """The error that `text` and `overrides` give, without the file's name."""
    file = write(folder, text)
    with pytest.raises(UserError) as error:
        load(file, overrides)
    message = str(error.value)
    assert "\n" not in message
    return message.replace(str(file), "FILE")


def test_defaults_are_the_official_code_s():
    train, detect = Config().train, Config().detect
    assert (train.learning_rate, train.steps, train.images_per_update) == (0.004, 21_000, 8)
    assert (train.decay_steps, train.frozen) == ((18_000,), ("block1_", "block2_"))
    assert (detect.score_threshold, detect.nms_iou, detect.top_k) == (0.05, 0.3, 1000)
    assert [m.anchor_scales for m in Config().model.modules] == [(1, 2), (4, 8), (16, 32)]
    assert [m.allowed_border for m in Config().model.modules] == [0, 0, 512]


def test_the_official_recipe_s_file_says_what_the_defaults_say():
    assert load(CONFIGS / "wider_vgg16.yaml") == Config()


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.yaml")), ids=lambda file: file.name)
def test_every_file_in_configs_loads(file: Path):
    assert isinstance(load(file), Config)


def test_a_file_that_sets_nothing_gives_the_defaults(tmp_path: Path):
    assert load(write(tmp_path, "# nothing\n")) == Config()


@pytest.mark.parametrize(
    ("text", "key", "known"),
    [
        pytest.param("trian: {}", "trian", "data, detect, loss, model, train", id="group"),
        pytest.param("train: {stpes: 1}", "train.stpes", "seed, steps, warmup_steps", id="field"),
        pytest.param(
            f"model: {{modules: [{MODULE}, {MODULE[:-1]}, strid: 8}}]}}",
            "model.modules.1.strid",
            "allowed_border, anchor_scales, channels, name, stride.",
            id="module",
        ),
    ],
)
def test_an_unknown_key_is_named_with_the_known_ones(
    tmp_path: Path, text: str, key: str, known: str
):
    message = refusal(tmp_path, text)
    assert message.startswith(f"FILE: unknown key `{key}`. Known keys here: ")
    assert known in message


@pytest.mark.parametrize(
    ("text", "key", "received"),
    [
        ("train: {steps: 1.5}", "train.steps", "1.5"),
        ("train: {steps: true}", "train.steps", "True"),
        ("train: {steps: '7'}", "train.steps", "'7'"),
        ("train: {steps: 0}", "train.steps", "0"),
        ("train: {steps: 2147483648}", "train.steps", "2147483648"),
        ("train: {decay_steps: [1, 2147483648]}", "train.decay_steps", "[1, 2147483648]"),
        ("train: {learning_rate: .inf}", "train.learning_rate", "inf"),
        ("train: {learning_rate: .nan}", "train.learning_rate", "nan"),
        ("train: {frozen: block1_}", "train.frozen", "'block1_'"),
        ("train: {optimizer: rmsprop}", "train.optimizer", "'rmsprop'"),
        ("data: {flip: 1}", "data.flip", "1"),
        ("data: {records: 5}", "data.records", "5"),
        ("data: {records: [a, b]}", "data.records", "['a', 'b']"),
        ("data: {records: {}}", "data.records", "{}"),
        ("data: {records: {a: 0}}", "data.records.a", "0"),
        ("data: {crop_factors: [5]}", "data.crop_factors", "[5]"),
        ("train: 5", "train", "5"),
        ("train:", "train", "None"),
        ("model: {modules: 3}", "model.modules", "3"),
        ("model: {modules: []}", "model.modules", "[]"),
        ("detect: {pyramid_px: [500, 0]}", "detect.pyramid_px.1", "0"),
        ("detect: {pyramid_base_px: [-800, 1200]}", "detect.pyramid_base_px.0", "-800"),
    ],
)
def test_a_wrong_value_is_named_with_its_key(tmp_path: Path, text: str, key: str, received: str):
    message = refusal(tmp_path, text)
    assert message.startswith(f"FILE: `{key}`: ")
    assert message.endswith(f"Received: {received}.")


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (("stride: 8", "stride: 4"), "model.modules.0.stride"),
        (("channels: 128", "channels: 127"), "model.modules.0.channels"),
        (("channels: 128", "channels: 1000000"), "model.modules.0.channels"),
        (("[1, 2]", "[]"), "model.modules.0.anchor_scales"),
        (("[1, 2]", "[1, -2]"), "model.modules.0.anchor_scales.1"),
        (("m1", "M/1"), "model.modules.0.name"),
    ],
)
def test_a_module_that_cannot_be_built_is_refused(
    tmp_path: Path, change: tuple[str, str], key: str
):
    text = f"model: {{modules: [{MODULE.replace(*change)}]}}"
    assert refusal(tmp_path, text).startswith(f"FILE: `{key}`: ")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("data: {mosaic_probability: 0.5, crop_px: 33}", "an even crop_px, not 33"),
        ("data: {mosaic_probability: 0.5}", "an even crop_px, not None"),
        ("data: {crop_px: 32, shorter_choices_px: [9]}", "exclude each other"),
        ("loss: {negative_iou: 0.6}", r"negative_iou (0.6) must not exceed positive_iou (0.5)"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(tmp_path: Path, text: str, says: str):
    message = refusal(tmp_path, text)
    assert message.startswith(f"FILE: `{text[:4]}`: ")
    assert says in message
    assert "Received" not in message


def test_two_modules_of_one_name_are_refused(tmp_path: Path):
    message = refusal(tmp_path, f"model: {{modules: [{MODULE}, {MODULE}]}}")
    assert message.startswith("FILE: `model.modules`: names must differ, not m1, m1.")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("train: [1", "FILE is not valid YAML: "),
        ("\ttrain: 1", "FILE is not valid YAML: "),
        ("!!python/object:os.system 1", "FILE is not valid YAML: "),
        ("- train", "FILE must hold `key: value` lines. Received: list."),
        ("[]", "FILE must hold `key: value` lines. Received: list."),
        ("false", "FILE must hold `key: value` lines. Received: bool."),
        ("2020-01-01: 3", "FILE: expected names as keys and plain values "),
        ("a: &a [*a]", "FILE is not valid YAML: aliases like *a are not supported in "),
        pytest.param("[" * 5000, "FILE is not valid YAML: it is nested too deeply", id="lists"),
        pytest.param("{a: " * 5000, "FILE is not valid YAML: it is nested too deeply", id="groups"),
        pytest.param("a: " + "9" * 5000, "FILE is not valid YAML: Exceeds the limit", id="digits"),
        ("a: 2020-13-45", "FILE is not valid YAML: month must be in 1..12"),
        (
            "train: {steps: 1}\ndata: {}\ntrain: {}",
            "FILE is not valid YAML: train is there twice",
        ),
        ("train: {steps: 1, steps: 2}", "FILE is not valid YAML: steps is there twice in "),
        pytest.param("#" * 1_000_001, "FILE is no file of settings: it has more than", id="large"),
    ],
)
def test_a_file_that_holds_no_settings_is_refused(tmp_path: Path, text: str, says: str):
    assert refusal(tmp_path, text).startswith(says)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path):
    file = tmp_path / "settings.yaml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="is not valid YAML"):
        load(file)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path):
    with pytest.raises(UserError, match=r"absent.yaml does not exist. Expected a YAML file"):
        load(tmp_path / "absent.yaml")
    with pytest.raises(UserError, match="is a folder, not a file"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("override", "group", "field", "value"),
    [
        ("train.learning_rate=1e-4", "train", "learning_rate", 1e-4),
        ("train.learning_rate=5E-4", "train", "learning_rate", 5e-4),
        ("train.learning_rate=+.5e0", "train", "learning_rate", 0.5),
        ("train.learning_rate=1", "train", "learning_rate", 1.0),
        ("train.decay_steps=[10, 20]", "train", "decay_steps", (10, 20)),
        ("train.frozen=[]", "train", "frozen", ()),
        ("data.flip=false", "data", "flip", False),
        ("data.records=/a=b", "data", "records", {"/a=b": 1.0}),
        ("data.records={a: 2, b: 0.5}", "data", "records", {"a": 2.0, "b": 0.5}),
        ("data.distort_colours=true", "data", "distort_colors", True),  # its old name
    ],
)
def test_an_override_wins_over_the_file(
    tmp_path: Path, override: str, group: str, field: str, value: object
):
    file = write(tmp_path, "train: {learning_rate: 0.2, steps: 7}\ndata: {records: here}\n")
    config = load(file, [override])
    assert getattr(getattr(config, group), field) == value
    assert config.train.steps == 7


def test_the_last_of_two_overrides_wins(tmp_path: Path):
    assert load(write(tmp_path, ""), ["train.steps=1", "train.steps=2"]).train.steps == 2


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("train.steps", "Override 'train.steps' must have the form a.b=c, like train.steps=100."),
        ("=3", "Override '=3' must have the form a.b=c, like train.steps=100."),
        (
            "train.steps.x=3",
            "Override 'train.steps.x=3': `steps` is a value and no group",
        ),
        ("train.steps=[1", "Override 'train.steps=[1': '[1' is not a YAML value."),
        ("train.steps=ten", "FILE: `train.steps`: Input should be a valid integer"),
        ("train.lr=1", "FILE: unknown key `train.lr`. Known keys here: bias_lr_multiplier, "),
        (
            "lr=1",
            "FILE: unknown key `lr`. Known keys here: data, detect, loss, model, train, ",
        ),
    ],
)
def test_a_bad_override_is_named(tmp_path: Path, override: str, says: str):
    assert refusal(tmp_path, "train: {steps: 7}", override).startswith(says)


def test_yaml_reads_back_to_the_same_settings(tmp_path: Path):
    text = f"""
        model: {{modules: [{MODULE}], fusion: false, weights: random}}
        loss: {{box_normalizer: positives, positive_inclusive: false}}
        train: {{learning_rate: 1e-5, decay_steps: [1, 2], frozen: [], optimizer: adam}}
        detect: {{nms_iou: 0.4}}
    """
    config = load(write(tmp_path, text))
    assert config != Config()
    assert load(write(tmp_path, to_yaml(config))) == config


def test_yaml_states_every_setting():
    text = to_yaml(Config())
    for group in ("loss", "data", "train", "detect"):
        for field in type(getattr(Config(), group)).model_fields:
            assert f"\n  {field}: " in text or f"\n  {field}:\n" in text


def test_settings_cannot_be_changed():
    config = Config()
    with pytest.raises(ValidationError, match="frozen"):
        config.train = config.train
    with pytest.raises(ValidationError, match="frozen"):
        config.model.modules[0].stride = 16


def test_validate_names_where_the_settings_came_from():
    with pytest.raises(UserError, match=r"^flags: `train.steps`"):
        validate({"train": {"steps": -1}}, origin="flags")
