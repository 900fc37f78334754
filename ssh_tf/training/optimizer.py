"""The optimisers: Caffe's SGD with its per-layer multipliers, and Adam for short runs."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from ssh_tf.config import TrainConfig

Tensor = Any
# (learning-rate multiplier, weight-decay multiplier) of a variable, by its path.
Multipliers = Callable[[str], tuple[float, float]]


@keras.saving.register_keras_serializable("ssh_tf")
class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """Learning rate by step: linear warm-up, then steps down or a cosine to zero.

    Args:
        config: A `TrainConfig`, or a dict of its fields.

    References:
        `solver_ssh.prototxt` (lr_policy "step").
    """

    def __init__(self, config: TrainConfig | dict[str, Any]) -> None:
        self.config = TrainConfig.model_validate(config)

    def __call__(self, step: Tensor) -> Tensor:
        """Returns the float32 learning rate of the update after `step` updates."""
        config = self.config
        done = ops.cast(step, "float32")
        if config.schedule == "cosine":
            factor = 0.5 * (1.0 + ops.cos(ops.minimum(done / config.steps, 1.0) * 3.14159265))
        else:
            passed = ops.sum(
                ops.cast(
                    done >= ops.convert_to_tensor([float("inf"), *config.decay_steps]), "float32"
                )
            )
            factor = config.decay_factor**passed
        if config.warmup_steps:
            factor = factor * ops.minimum((done + 1.0) / config.warmup_steps, 1.0)
        images = config.learning_rate_images or config.images_per_update
        return config.learning_rate * (config.images_per_update / images) * factor

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"config": self.config.model_dump(mode="json")}


@keras.saving.register_keras_serializable("ssh_tf")
class CaffeSGD(keras.optimizers.SGD):
    """SGD as Caffe's solver does it.

    `v <- momentum v + lr lr_mult (g + decay decay_mult w); w <- w - v`: L2 decay is part of the
    gradient, inside the momentum, where Keras' `weight_decay` shrinks the weights outside of it. At
    momentum 0.9 the same number decays ten times less in Keras.

    Args:
        learning_rate: Number or schedule.
        momentum: Of the velocity.
        decay: L2 factor.
        multipliers: `path -> (lr_mult, decay_mult)`.

    References:
        caffe-ssh `sgd_solver.cpp`.
    """

    def __init__(
        self,
        learning_rate: Any,
        momentum: float = 0.9,
        decay: float = 0.0,
        multipliers: Multipliers = lambda path: (1.0, 1.0),
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, momentum=momentum, **kwargs)
        self.decay = decay
        self.multipliers = multipliers

    def build(self, variables: list[Any]) -> None:
        """Creates the velocities and looks up each variable's multipliers."""
        super().build(variables)
        # By index: on several replicas `update_step` gets their copies, which have no path.
        self._by_index = [self.multipliers(variable.path) for variable in variables]

    def update_step(self, gradient: Tensor, variable: Any, learning_rate: Tensor) -> None:
        """Applies one update to one variable; `gradient` is already summed over replicas."""
        rate, decay = self._by_index[self._get_variable_index(variable)]
        weights = ops.convert_to_tensor(variable)
        gradient = rate * (gradient + self.decay * decay * weights)
        super().update_step(gradient, variable, learning_rate)


def official_multipliers(config: TrainConfig, module_names: tuple[str, ...]) -> Multipliers:
    """Returns the multipliers of `train_ssh.prototxt`.

    Biases learn `bias_lr_multiplier` times as fast. Biases of the detection modules are not
    decayed, those of VGG and fusion layers are.

    Args:
        config: The recipe.
        module_names: Prefixes of the detection modules' layers.
    """

    def multipliers(path: str) -> tuple[float, float]:
        layer, name = path.split("/")[-2:]
        if name != "bias":
            return 1.0, 1.0
        in_module = layer.split("_")[0] in module_names
        decay = 0.0 if in_module and not config.decay_module_biases else 1.0
        return config.bias_lr_multiplier, decay

    return multipliers


def make_optimizer(
    config: TrainConfig, module_names: tuple[str, ...]
) -> keras.optimizers.Optimizer:
    """Returns the optimiser of a recipe, see `TrainConfig.optimizer`."""
    schedule = Schedule(config)
    optimizer: keras.optimizers.Optimizer
    if config.optimizer == "adam":
        optimizer = keras.optimizers.Adam(schedule)
    else:
        optimizer = CaffeSGD(
            schedule,
            momentum=config.momentum,
            decay=config.weight_decay,
            multipliers=official_multipliers(config, module_names),
        )
    if config.precision == "float16":
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer
