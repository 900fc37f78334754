"""Trains SSH on one accelerator, the numeric core on JAX: data, augmentation and update in one jit.

    pip install optax jax          # on a GPU: pip install "jax[cuda12]"
    python benchmarks/train_jax.py --config configs/photos_vgg16.yaml --seconds 200 --batch 32 \
        --start vgg16_start.npz --wider_root FACES WIDER_MINI --out vgg16
    python benchmarks/train_jax.py --config configs/photos_light.yaml --seconds 150 --batch 64 \
        --start light_start.npz --teacher vgg16.npz --wider_root FACES WIDER_MINI --out light

The recipe is the YAML file's: network, anchors, mining, losses, learning rate, moving average.
Squares are drawn as `squares_jax.py` says. With a teacher, the network also learns what that finds.
Files of weights are arrays by the paths of the variables; `OUT_<i>.npz` holds the averaged ones.
Ends with one JSON line.
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"

import jax
import jax.numpy as jnp
import keras
import numpy as np
import optax
from squares_jax import Photos, read_photos, square

from ssh_tf.config import Config, LossConfig, load
from ssh_tf.geometry.anchors import anchor_grid, grid_size
from ssh_tf.geometry.proposals import face_probability
from ssh_tf.model.backbones.imagenet import trunk_means
from ssh_tf.model.losses import box_loss, class_loss
from ssh_tf.model.ohem import assign
from ssh_tf.model.ssh import SSH

Array = Any


def losses(outputs: dict, faces: Array, config: Config, anchors: dict, side: int) -> Array:
    """The official losses of a batch of squares, averaged over its images."""
    sizes = jnp.full((faces.shape[0], 2), side, jnp.int32)
    total, loss = 0.0, config.loss
    for module in config.model.modules:
        logits = outputs[f"{module.name}_logits"].astype(jnp.float32)
        deltas = outputs[f"{module.name}_deltas"].astype(jnp.float32)
        labels, targets = assign(
            jax.lax.stop_gradient(face_probability(logits)),
            anchors[module.name],
            sizes,
            faces,
            module=module,
            loss=loss,
        )
        labels, targets = jax.lax.stop_gradient((labels, targets))
        total += class_loss(logits, labels) + _box_loss(deltas, targets, labels, loss)
    return jnp.mean(total)


def _box_loss(deltas: Array, targets: Array, labels: Array, loss: LossConfig) -> Array:
    return box_loss(deltas, targets, labels, sigma=loss.sigma, normalizer=loss.box_normalizer)


def distillation(outputs: dict, taught: dict, config: Config) -> Array:
    """Cross-entropy towards a teacher's probabilities, and its boxes, where either sees a face."""
    total = 0.0
    for module in config.model.modules:
        logits = outputs[f"{module.name}_logits"].astype(jnp.float32)
        right = face_probability(taught[f"{module.name}_logits"].astype(jnp.float32))  # [B, N]
        sharp = jnp.clip(right, 1e-4, 1 - 1e-4)
        log = jax.nn.log_softmax(logits)
        entropy = -(sharp * log[..., 1] + (1 - sharp) * log[..., 0])
        entropy += sharp * jnp.log(sharp) + (1 - sharp) * jnp.log(1 - sharp)
        hardest, _ = jax.lax.top_k(entropy, min(128, entropy.shape[1]))
        error = jnp.abs(
            outputs[f"{module.name}_deltas"].astype(jnp.float32)
            - taught[f"{module.name}_deltas"].astype(jnp.float32)
        )
        smooth = jnp.where(error < 1 / 9, 4.5 * error**2, error - 0.5 / 9).sum(-1)
        near = jnp.where(right > 0.5, right, 0.0)
        boxes = (near * smooth).sum(-1) / jnp.maximum(near.sum(-1), 1.0)
        total += hardest.mean(-1) + boxes
    return jnp.mean(total)


def build(config: Config, precision: str, file: str) -> SSH:
    """Builds a network that computes in `precision`, from arrays by the paths of its weights."""
    keras.utils.set_random_seed(config.train.seed)
    keras.config.set_dtype_policy("float32" if precision == "float32" else f"mixed_{precision}")
    network = SSH(config.model, trunk_means(config.model, config.model.weights))
    keras.config.set_dtype_policy("float32")
    with np.load(file) as arrays:
        for variable in network.weights:
            if variable.path in arrays:
                variable.assign(arrays[variable.path].astype(np.float32))
    return network


def make_optimizer(config: Config, paths: list[str]) -> optax.GradientTransformation:
    """Caffe's SGD with its multipliers, or Adam; the caller scales by the learning rate."""
    train = config.train
    clip = optax.clip_by_global_norm(train.clip_norm or 1e9)
    if train.optimizer == "adam":
        return optax.chain(clip, optax.scale_by_adam())
    rates = [train.bias_lr_multiplier if path.endswith("bias") else 1.0 for path in paths]
    decays = [0.0 if path.endswith("bias") else train.weight_decay for path in paths]

    def decay(updates: list, state: Any, params: list) -> tuple[list, Any]:
        done = [r * (g + d * p) for g, p, r, d in zip(updates, params, rates, decays, strict=True)]
        return done, state

    decayed = optax.GradientTransformation(lambda params: optax.EmptyState(), decay)
    return optax.chain(clip, decayed, optax.trace(train.momentum))


class Training:
    """The jitted update and what it changes."""

    def __init__(self, config: Config, arguments: argparse.Namespace, photos: Photos) -> None:
        self.config, self.side, self.photos = config, arguments.side, photos
        network = build(config, arguments.precision, arguments.start)
        for layer in network.layers:
            layer.trainable = not layer.name.startswith(config.train.frozen)
        self.network, self.model = network, network.exact()
        self.paths = [variable.path for variable in self.model.trainable_variables]
        self.weights = [variable.value for variable in self.model.trainable_variables]
        self.others = [variable.value for variable in self.model.non_trainable_variables]
        self.average = self.weights
        self.optimizer = make_optimizer(config, self.paths)
        self.state = self.optimizer.init(self.weights)
        self.teacher, self.taught = None, None
        if arguments.teacher:
            taught = build(load(arguments.teacher_config), arguments.precision, arguments.teacher)
            self.teacher = taught.exact()
            self.taught = [
                [variable.value for variable in variables]
                for variables in (
                    self.teacher.trainable_variables,
                    self.teacher.non_trainable_variables,
                )
            ]
        count = len(photos.sizes)
        real = np.asarray(jnp.any(photos.faces != -1.0, axis=(1, 2)))
        # Photos without a face: a tenth. The small set (the last folder) twice as often.
        chance = np.where(real, 0.9 / real.sum(), 0.1 / max((~real).sum(), 1))
        chance[count - arguments.small :] *= 2.0
        self.chances = jnp.log(jnp.asarray(chance / chance.sum()))
        self.update = jax.jit(self._update, donate_argnums=(0, 1, 2), static_argnames="batch")

    def _loss(self, weights: list, others: list, images: Array, faces: Array, taught: Any) -> Array:
        outputs = self.model.stateless_call(weights, others, images)[0]
        anchors = {
            module.name: anchor_grid(
                grid_size(self.side, module.stride),
                grid_size(self.side, module.stride),
                stride=module.stride,
                scales=module.anchor_scales,
            )
            for module in self.config.model.modules
        }
        loss = losses(outputs, faces, self.config, anchors, self.side)
        if taught is not None:
            seen = self.teacher.stateless_call(*taught, images)[0]
            loss += 2.0 * distillation(outputs, jax.lax.stop_gradient(seen), self.config)
        return loss

    def _update(  # noqa: PLR0913
        self,
        weights: list,
        average: list,
        state: Any,
        others: list,
        photos: tuple[Array, ...],
        key: Array,
        rate: Array,
        decay: Array,
        taught: Any,
        *,
        batch: int,
    ) -> tuple[list, list, Any, Array]:
        """One update of weights, their average and the optimizer, on freshly drawn squares."""
        pictures = Photos(*photos)
        draw = jax.vmap(lambda k: square(k, pictures, self.chances, self.side))
        images, faces = draw(jax.random.split(key, batch))
        loss, gradients = jax.value_and_grad(self._loss)(weights, others, images, faces, taught)
        updates, state = self.optimizer.update(gradients, state, weights)
        finite = jnp.isfinite(loss) & jnp.isfinite(optax.global_norm(gradients))
        rate = jnp.where(finite, rate, 0.0)
        weights = [w - rate * u for w, u in zip(weights, updates, strict=True)]
        average = [decay * a + (1 - decay) * w for a, w in zip(average, weights, strict=True)]
        return weights, average, state, loss

    def run(self, seconds: float, batch: int, seed: int) -> dict[str, Any]:
        """Updates until the time is up: warm-up, then a cosine of the elapsed share."""
        photos = (self.photos.pixels, self.photos.sizes, self.photos.faces)
        key, train = jax.random.key(seed), self.config.train
        average = [jnp.array(w) for w in self.weights]
        weights, state = self.weights, self.state
        step, started, last, shown = 0, None, None, []
        while True:
            elapsed = 0.0 if started is None else time.perf_counter() - started
            if elapsed >= seconds:
                break
            rate = train.learning_rate * 0.5 * (1 + np.cos(np.pi * elapsed / seconds))
            rate *= min(1.0, (step + 1) / max(train.warmup_steps, 1))
            decay = min(train.ema_decay or 0.0, (1 + step) / (10 + step))
            weights, average, state, loss = self.update(
                weights, average, state, self.others, photos, jax.random.fold_in(key, step),
                jnp.float32(rate), jnp.float32(decay), self.taught, batch=batch,
            )  # fmt: skip
            shown.append(loss)
            step += 1
            if step == 2:
                jax.block_until_ready(loss)
                started = time.perf_counter()
            if step % 10 == 0:
                jax.block_until_ready(loss)  # so that the clock counts finished work
            if step % 200 == 0:
                last = float(jnp.mean(jnp.stack(shown[-200:])))
                print(f"{elapsed:6.0f} s  step {step}  loss {last:.4f}", flush=True)
        self.average = average
        return {"steps": step, "squares_per_second": batch * step / seconds, "loss": last}


def save(training: Training, out: Path) -> None:
    """Writes the averaged weights as float16, in files of less than 15 MB."""
    arrays = {v.path: np.asarray(v.value) for v in training.model.non_trainable_variables}
    arrays |= dict(zip(training.paths, map(np.asarray, training.average), strict=True))
    parts, size = [{}], 0
    for name, array in arrays.items():
        half = array.astype(np.float16)
        if size + half.nbytes > 14e6:
            parts.append({})
            size = 0
        parts[-1][name], size = half, size + half.nbytes
    for i, part in enumerate(parts):
        np.savez(out.with_name(f"{out.name}_{i}.npz"), **part)


def main() -> None:
    """Trains and writes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--config", required=True)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--wider_root", nargs="+", required=True)
    parser.add_argument("--small", type=int, default=139, help="last photos, drawn twice as often")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--start", required=True, help="arrays to begin with")
    parser.add_argument("--teacher", help="arrays of the network to learn from")
    parser.add_argument("--teacher_config", default="configs/photos_vgg16.yaml")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    config = load(arguments.config, arguments.set)
    started = time.perf_counter()
    photos = read_photos(arguments.wider_root)
    print(f"{len(photos.sizes)} photos read in {time.perf_counter() - started:.0f} s", flush=True)
    training = Training(config, arguments, photos)
    report = training.run(arguments.seconds, arguments.batch, config.train.seed)
    save(training, arguments.out)
    print(json.dumps({"benchmark": "train_jax", "out": str(arguments.out), **report}))


if __name__ == "__main__":
    main()
