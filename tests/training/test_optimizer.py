"""Tests of the optimizer: Caffe's solver step by step, and its schedule."""

import keras
import numpy as np
import pytest
from keras import ops

from ssh_tf.config import ModelConfig, TrainConfig
from ssh_tf.training.optimizer import CaffeSGD, Schedule, make_optimizer
from tests.support.small import small_network

CONFIG = TrainConfig()
NAMES = ("m1", "m2", "m3")


def numpy(values: object) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(values))


class CaffeSolver:
    """Caffe's SGDSolver in float64, as its sources say: Regularize, ComputeUpdateValue, Update."""

    def __init__(self, weights: dict[str, np.ndarray], config: TrainConfig):
        self.weights = {name: array.astype(np.float64) for name, array in weights.items()}
        self.history = {name: np.zeros(array.shape) for name, array in weights.items()}
        self.config = config
        self.iteration = 0

    def rate(self) -> float:
        """lr_policy "step" with one step."""
        passed = self.iteration // self.config.decay_steps[0]
        return self.config.learning_rate * self.config.decay_factor**passed

    def step(self, gradients: dict[str, np.ndarray]):
        for name, gradient in gradients.items():
            bias, head = name.endswith("bias"), name.startswith("m")
            decay = 0.0 if bias and head else self.config.weight_decay
            difference = gradient + decay * self.weights[name]
            rate = self.rate() * (2.0 if bias else 1.0)
            self.history[name] = self.config.momentum * self.history[name] + rate * difference
            self.weights[name] = self.weights[name] - self.history[name]
        self.iteration += 1


VARIABLES = {
    "block3_conv1/kernel": (3, 3, 2, 4),
    "block3_conv1/bias": (4,),
    "fuse_conv/kernel": (1, 1, 4, 2),
    "fuse_conv/bias": (2,),
    "m1_cls/kernel": (1, 1, 2, 4),
    "m1_cls/bias": (4,),
}


def variables_of(weights: dict[str, np.ndarray]) -> list[keras.Variable]:
    """Variables with the paths that those of layers have."""
    found = []
    for path, array in weights.items():
        layer, _, name = path.rpartition("/")
        with keras.name_scope(layer):
            found.append(keras.Variable(array, name=name))
    assert [variable.path for variable in found] == list(weights)
    return found


def test_sgd_follows_caffe_s_solver_over_60_steps(rng: np.random.Generator):
    # Large rate and decay, so that every term shows; the rate falls after 40 steps.
    config = TrainConfig(learning_rate=0.05, weight_decay=0.02, decay_steps=(40,), steps=60)
    start = {name: rng.normal(size=shape).astype("float32") for name, shape in VARIABLES.items()}
    variables, solver = variables_of(start), CaffeSolver(start, config)
    optimizer = make_optimizer(config, NAMES)
    for _ in range(60):
        gradients = {name: rng.normal(size=shape) for name, shape in VARIABLES.items()}
        tensors = [ops.convert_to_tensor(g.astype("float32")) for g in gradients.values()]
        optimizer.apply(tensors, variables)
        solver.step(gradients)
    for variable in variables:
        np.testing.assert_allclose(
            numpy(variable), solver.weights[variable.path], rtol=1e-5, atol=1e-5
        )


def test_sgd_by_hand():
    # v = 0.5 v + 0.1 (g + 0.2 w): from w = 1 and g = 1, v = 0.12, w = 0.88;
    # then v = 0.06 + 0.1 * 1.176 = 0.1776, w = 0.7024.
    variable = keras.Variable([1.0])
    optimizer = CaffeSGD(0.1, momentum=0.5, decay=0.2)
    for expected in (0.88, 0.7024):
        optimizer.apply([ops.convert_to_tensor([1.0])], [variable])
        np.testing.assert_allclose(numpy(variable), [expected], rtol=1e-6)


def test_decay_alone_shrinks_all_but_head_biases():
    config = TrainConfig(learning_rate=0.5, weight_decay=0.1, momentum=0.0)
    variables = variables_of({name: np.ones(shape, "float32") for name, shape in VARIABLES.items()})
    gradients = [ops.zeros(variable.shape) for variable in variables]
    make_optimizer(config, NAMES).apply(gradients, variables)
    left = {variable.path: float(numpy(variable).ravel()[0]) for variable in variables}
    assert left == pytest.approx(
        {
            "block3_conv1/kernel": 0.95,  # 1 - 0.5 * 0.1
            "block3_conv1/bias": 0.9,  # twice the rate
            "fuse_conv/kernel": 0.95,
            "fuse_conv/bias": 0.9,
            "m1_cls/kernel": 0.95,
            "m1_cls/bias": 1.0,
        }
    )


# Multipliers


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("block3_conv1/kernel", (1, 1)),
        ("block3_conv1/bias", (2, 1)),
        ("fuse_conv5_reduce/kernel", (1, 1)),
        ("fuse_conv5_reduce/bias", (2, 1)),
        ("m2_context_reduce/kernel", (1, 1)),
        ("m2_context_reduce/bias", (2, 0)),
        ("m3_box/bias", (2, 0)),
        ("ssh/m1_cls/bias", (2, 0)),
    ],
)
def test_official_multipliers(path: str, expected: tuple[float, float]):
    assert make_optimizer(CONFIG, NAMES).multipliers(path) == expected


def test_paper_decays_module_biases_too():
    multipliers = make_optimizer(TrainConfig(decay_module_biases=True), NAMES).multipliers
    assert multipliers("m1_cls/bias") == (2, 1)


def test_every_variable_of_the_network_has_its_multipliers():
    multipliers = make_optimizer(CONFIG, NAMES).multipliers
    found = {variable.path: multipliers(variable.path) for variable in small_network().weights}
    assert sum(rates == (2, 0) for rates in found.values()) == 21  # 3 modules x 7 biases
    assert sum(rates == (2, 1) for rates in found.values()) == 16  # 13 VGG and 3 fusion biases
    assert sum(rates == (1, 1) for rates in found.values()) == 38  # 37 kernels, the upsampling


def test_frozen_layers_have_no_state_in_the_optimizer():
    weights = {name: np.ones(shape, "float32") for name, shape in VARIABLES.items()}
    variables = variables_of(weights)
    variables[0].trainable = False
    optimizer = make_optimizer(CONFIG, NAMES)
    trained = [variable for variable in variables if variable.trainable]
    optimizer.build(trained)
    optimizer.apply([ops.ones(variable.shape) for variable in trained])
    np.testing.assert_array_equal(numpy(variables[0]), weights[variables[0].path])
    assert all(numpy(variable).max() < 1 for variable in trained)


# Schedule


def rate(step: int, **settings: object) -> float:
    return float(Schedule(TrainConfig(**settings))(step))


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 0.004), (17_999, 0.004), (18_000, 0.0004), (20_999, 0.0004)]
)
def test_official_schedule_by_hand(step: int, expected: float):
    assert rate(step) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("step", "expected"), [(9, 1), (10, 0.5), (19, 0.5), (20, 0.25)])
def test_several_steps_multiply(step: int, expected: float):
    settings = {"learning_rate": 1.0, "decay_steps": (10, 20), "decay_factor": 0.5}
    assert rate(step, **settings) == pytest.approx(expected, rel=1e-6)


def test_without_steps_the_rate_stays():
    assert rate(10**6, decay_steps=(), learning_rate=0.25) == 0.25


@pytest.mark.parametrize(("step", "expected"), [(0, 0.25), (1, 0.5), (3, 1.0), (4, 1.0)])
def test_warm_up_rises_linearly(step: int, expected: float):
    assert rate(step, warmup_steps=4, learning_rate=1.0) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("step", "expected"), [(0, 1.0), (25, 0.853553), (50, 0.5), (100, 0.0)])
def test_cosine_by_hand(step: int, expected: float):
    # (1 + cos(pi / 4)) / 2 = 0.853553.
    found = rate(step, schedule="cosine", steps=100, learning_rate=1.0)
    assert found == pytest.approx(expected, abs=1e-6)


def test_schedule_comes_back_from_its_config():
    config = TrainConfig(learning_rate=0.5, decay_steps=(3, 5), decay_factor=0.2, warmup_steps=2)
    state = keras.saving.serialize_keras_object(Schedule(config))
    assert keras.saving.deserialize_keras_object(state).config == config


def test_optimizer_comes_back_from_its_config():
    optimizer = make_optimizer(TrainConfig(decay_steps=(3,), momentum=0.5), NAMES)
    state = keras.saving.serialize_keras_object(optimizer)
    again = keras.saving.deserialize_keras_object(state)
    assert (again.decay, again.momentum) == (0.0005, 0.5)
    for path in ("m1_cls/bias", "fuse_conv/bias", "m1_cls/kernel"):
        assert again.multipliers(path) == optimizer.multipliers(path)
    assert float(again.learning_rate) == float(optimizer.learning_rate)


def test_adam_can_be_chosen():
    optimizer = make_optimizer(TrainConfig(optimizer="adam"), NAMES)
    assert type(optimizer) is keras.optimizers.Adam


def test_official_recipe_is_the_default():
    optimizer = make_optimizer(CONFIG, NAMES)
    assert isinstance(optimizer, CaffeSGD)
    assert (optimizer.momentum, optimizer.decay, optimizer.nesterov) == (0.9, 0.0005, False)
    assert optimizer.clipnorm is optimizer.global_clipnorm is optimizer.clipvalue is None
    assert (CONFIG.steps, CONFIG.images_per_update, CONFIG.warmup_steps) == (21_000, 8, 0)
    assert ModelConfig().weights == "imagenet"
