"""The optimizers: Caffe's SGD with its per-layer multipliers, and Adam for short runs."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops
from keras.optimizers import schedules

from ssh_tf.config import TrainConfig

Tensor = Any


@keras.saving.register_keras_serializable("ssh_tf")
class Schedule(schedules.LearningRateSchedule):
    """Learning rate by step: Keras' steps or its cosine to zero, after a linear warm-up.

    Keras' own warm-up is not used: it delays the cosine by its length.

    Args:
        config: A `TrainConfig`, or a dict of its fields.

    References:
        `solver_ssh.prototxt` (lr_policy "step").
    """

    def __init__(self, config: TrainConfig | dict[str, Any]) -> None:
        self.config = config = TrainConfig.model_validate(config)
        images = config.learning_rate_images or config.images_per_update
        rate = config.learning_rate * config.images_per_update / images
        if config.schedule == "cosine":
            self._decay = schedules.CosineDecay(rate, config.steps)
        elif config.decay_steps:
            values = [rate * config.decay_factor**n for n in range(len(config.decay_steps) + 1)]
            # Keras' steps lie after their boundary, Caffe's at it.
            before = [step - 1 for step in config.decay_steps]
            self._decay = schedules.PiecewiseConstantDecay(before, values)
        else:
            self._decay = lambda step: rate

    def __call__(self, step: Tensor) -> Tensor:
        """Returns the float32 learning rate of the update after `step` updates."""
        rate = ops.cast(self._decay(step), "float32")
        if self.config.warmup_steps:
            done = ops.cast(step, "float32")
            rate = rate * ops.minimum((done + 1.0) / self.config.warmup_steps, 1.0)
        return rate

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
        bias_lr_multiplier: lr_mult of every bias.
        undecayed: Prefixes of the layers whose biases have decay_mult 0: the names of the detection
            modules in `train_ssh.prototxt`.

    References:
        caffe-ssh `sgd_solver.cpp`.
    """

    def __init__(
        self,
        learning_rate: Any,
        momentum: float = 0.9,
        decay: float = 0.0,
        bias_lr_multiplier: float = 1.0,
        undecayed: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, momentum=momentum, **kwargs)
        self.decay = decay
        self.bias_lr_multiplier, self.undecayed = bias_lr_multiplier, tuple(undecayed)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        names = ("decay", "bias_lr_multiplier", "undecayed")
        config: dict[str, Any] = super().get_config()
        return config | {name: getattr(self, name) for name in names}

    def multipliers(self, path: str) -> tuple[float, float]:
        """Returns lr_mult and decay_mult of a variable."""
        layer, _, name = path.rpartition("/")
        if name != "bias":
            return 1.0, 1.0
        prefix = layer.rpartition("/")[2].split("_")[0]
        return self.bias_lr_multiplier, float(prefix not in self.undecayed)

    def build(self, variables: list[Any]) -> None:
        """Creates the velocities and looks up each variable's multipliers."""
        super().build(variables)
        # By index: on several replicas `update_step` gets their copies, which have no path.
        self._by_index = [self.multipliers(variable.path) for variable in variables]

    def update_step(self, gradient: Tensor, variable: Any, learning_rate: Tensor) -> None:
        """Applies one update to one variable; `gradient` is already summed over replicas."""
        rate, decay = self._by_index[self._get_variable_index(variable)]
        weights = ops.convert_to_tensor(variable)  # as `gradient`, the variable's shape
        gradient = rate * (gradient + self.decay * decay * weights)
        super().update_step(gradient, variable, learning_rate)


def make_optimizer(
    config: TrainConfig, module_names: tuple[str, ...]
) -> keras.optimizers.Optimizer:
    """Returns the optimizer of a recipe, see `TrainConfig.optimizer`.

    Args:
        config: The recipe.
        module_names: Prefixes of the detection modules' layers.
    """
    schedule = Schedule(config)
    optimizer: keras.optimizers.Optimizer
    if config.optimizer == "adam":
        optimizer = keras.optimizers.Adam(schedule)
    else:
        optimizer = CaffeSGD(
            schedule,
            momentum=config.momentum,
            decay=config.weight_decay,
            bias_lr_multiplier=config.bias_lr_multiplier,
            undecayed=() if config.decay_module_biases else module_names,
        )
    if config.precision == "float16":
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer
