"""Trains SSH on one accelerator, the numeric core on JAX: data, augmentation and update in one jit.

    pip install optax jax          # on a GPU: pip install "jax[cuda12]"
    python benchmarks/train_jax.py --config configs/photos_vgg16.yaml --seconds 200 --batch 32 \
        --start vgg16_start.npz --wider_root FACES WIDER_MINI --out vgg16
    python benchmarks/train_jax.py --config configs/photos_light.yaml --seconds 150 --batch 64 \
        --start light_start.npz --teacher vgg16.npz --wider_root FACES WIDER_MINI --out light

The recipe is the YAML file's: network, anchors, mining, losses, learning rate, moving average.
Photos lie on the device; each square is four quarters, of one photo or of four, each scaled so that
one of its faces gets a side drawn log-uniformly (PyramidBox, arXiv:1803.07737, 3.3). With a
teacher, the network also learns what that finds. Files of weights are arrays by the paths of the
variables; `OUT_<i>.npz` holds the averaged ones. Ends with one JSON line.
"""

import argparse
import dataclasses
import json
import os
import time
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"

import cv2
import jax
import jax.numpy as jnp
import keras
import numpy as np
import optax

from ssh_tf.config import Config, LossConfig, load
from ssh_tf.data.readers.wider import find_split, read_annotations
from ssh_tf.geometry.anchors import anchor_grid, grid_size
from ssh_tf.geometry.proposals import face_probability
from ssh_tf.model.backbones.imagenet import trunk_means
from ssh_tf.model.losses import box_loss, class_loss
from ssh_tf.model.ohem import assign
from ssh_tf.model.ssh import SSH

Array = Any

FACES = 128  # rows per square
LARGEST_PX = 1024
# Shares of the squares: of four photos, of a whole photo.
MOSAIC, WHOLE = 0.3, 0.2
# Side of the drawn face, network px; largest factor by which a photo is enlarged.
FACE_PX = (8.0, 320.0)
ENLARGED = 3.0


@dataclasses.dataclass(frozen=True)
class Photos:
    """All photos, on the device.

    Attributes:
        pixels: `[N, 1024, 1024, 3]` uint8 RGB, each in the upper left.
        sizes: `[N, 2]` float32, height and width, px.
        faces: `[N, F, 4]` float32 official corners, px; rows of -1 are padding.
    """

    pixels: Array
    sizes: Array
    faces: Array


def read_photos(roots: list[str]) -> Photos:
    """Reads the training split of folders in WIDER's layout."""
    pixels, sizes, faces = [], [], []
    for root in roots:
        layout = find_split(Path(root), "train")
        for entry in read_annotations(layout.annotations):
            image = cv2.imread(str(layout.images_dir / entry.name), cv2.IMREAD_COLOR)
            factor = min(1.0, LARGEST_PX / max(image.shape[:2]))
            if factor < 1:
                image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
            height, width = image.shape[:2]
            canvas = np.zeros((LARGEST_PX, LARGEST_PX, 3), np.uint8)
            canvas[:height, :width] = image[..., ::-1]
            x, y, w, h = entry.boxes.reshape(-1, 4).T * factor
            boxes = np.stack([x, y, x + w, y + h], axis=-1)
            pixels.append(canvas)
            sizes.append((height, width))
            faces.append(boxes[(w >= 1) & (h >= 1)])
    most = max(map(len, faces))
    table = np.full((len(faces), most, 4), -1.0, np.float32)
    for row, boxes in zip(table, faces, strict=True):
        row[: len(boxes)] = boxes
    return Photos(
        jax.device_put(np.stack(pixels)),
        jax.device_put(np.array(sizes, np.float32)),
        jax.device_put(table),
    )


def draw_view(key: Array, photos: Photos, index: Array, side: float) -> Array:
    """Draws how one photo is seen through a window: `(scale, top, left)`, window px."""
    keys = jax.random.split(key, 6)
    faces, size = photos.faces[index], photos.sizes[index]  # [F, 4], [2]
    real = jnp.any(faces != -1.0, axis=-1)
    chosen = faces[jax.random.categorical(keys[0], jnp.where(real, 0.0, -1e9))]
    width, height = chosen[2] - chosen[0], chosen[3] - chosen[1]
    low, high = jnp.log(jnp.array(FACE_PX))
    target = jnp.exp(jax.random.uniform(keys[1], minval=low, maxval=high))
    by_face = jnp.minimum(target, 0.8 * side) / jnp.sqrt(jnp.maximum(width * height, 1.0))
    by_chance = jnp.exp(jax.random.uniform(keys[1], minval=jnp.log(0.4), maxval=jnp.log(2.0)))
    whole = side / jnp.max(size) * jax.random.uniform(keys[2], minval=0.6, maxval=1.1)
    scale = jnp.where(jnp.any(real), by_face, by_chance)
    scale = jnp.clip(scale, 0.6 * side / jnp.max(size), ENLARGED)
    scale = jnp.where(jax.random.uniform(keys[3]) < WHOLE, whole, scale)
    centre = jnp.stack([(chosen[1] + chosen[3]) / 2, (chosen[0] + chosen[2]) / 2]) * scale
    at = jax.random.uniform(keys[4], (2,), minval=0.1, maxval=0.9) * side
    anywhere = jax.random.uniform(keys[5], (2,)) * (size * scale - side)
    corner = jnp.where(jnp.any(real), centre - at, anywhere)
    room = size * scale - side
    corner = jnp.clip(corner, jnp.minimum(room, 0.0), jnp.maximum(room, 0.0))
    return jnp.concatenate([scale[None], corner])


def quarter(photos: Photos, index: Array, view: Array, side: int) -> Array:
    """Returns what a window of `side` px shows of a photo: `[side, side, 3]`, the mean beyond."""
    scale, top, left = view
    pixels = jax.image.scale_and_translate(
        photos.pixels[index].astype(jnp.float32),
        (side, side, 3),
        (0, 1),
        jnp.stack([scale, scale]),
        jnp.stack([-top, -left]),
        "linear",
        antialias=False,
    )
    height, width = photos.sizes[index] * scale
    rows = (jnp.arange(side) + 0.5 + top)[:, None]
    columns = (jnp.arange(side) + 0.5 + left)[None]
    inside = (rows > 0) & (rows < height) & (columns > 0) & (columns < width)
    return jnp.where(inside[..., None], pixels, jnp.array([123.0, 117.0, 104.0]))


def seen_faces(photos: Photos, index: Array, view: Array, side: float) -> Array:
    """Returns a photo's faces in window px, `[F, 4]`; rows of -1 where the centre is outside."""
    scale, top, left = view
    faces = photos.faces[index]
    moved = faces * scale - jnp.stack([left, top, left, top])
    centre = (moved[:, :2] + moved[:, 2:]) / 2
    cut = jnp.clip(moved, 0.0, side)
    kept = jnp.all((centre >= 0) & (centre < side), axis=-1) & jnp.any(faces != -1.0, axis=-1)
    kept &= jnp.max(cut[:, 2:] - cut[:, :2], axis=-1) >= 5.0
    return jnp.where(kept[:, None], cut, -1.0)


def square(key: Array, photos: Photos, weights: Array, side: int) -> tuple[Array, Array]:
    """Draws one training example: `[side, side, 3]` in `[0, 255]` and `[FACES, 4]`."""
    keys = jax.random.split(key, 8)
    half = side // 2
    corners = half * jnp.array([[0, 0], [0, 1], [1, 0], [1, 1]], jnp.float32)
    mosaic = jax.random.uniform(keys[0]) < MOSAIC
    indices = jax.random.categorical(keys[1], weights, shape=(4,))
    indices = jnp.where(mosaic, indices, indices[0])
    single = draw_view(keys[2], photos, indices[0], side)
    views = jax.vmap(lambda k, i: draw_view(k, photos, i, half))(
        jax.random.split(keys[3], 4), indices
    )
    shifted = single + jnp.pad(corners, [[0, 0], [1, 0]])
    views = jnp.where(mosaic, views, shifted)
    quarters = jnp.stack([quarter(photos, indices[i], views[i], half) for i in range(4)])
    image = quarters.reshape(2, 2, half, half, 3).transpose(0, 2, 1, 3, 4).reshape(side, side, 3)
    own = jax.vmap(lambda i, v: seen_faces(photos, i, v, half))(indices, views)  # [4, F, 4]
    own = jnp.where(own != -1.0, own + jnp.tile(corners[:, None, ::-1], (1, 1, 2)), -1.0)
    whole = seen_faces(photos, indices[0], single, side)  # [F, 4]
    whole = jnp.pad(whole, [[0, 3 * len(whole)], [0, 0]], constant_values=-1.0)
    faces = jnp.where(mosaic, own.reshape(-1, 4), whole)
    order = jnp.argsort(~jnp.any(faces != -1.0, axis=-1))  # stable: real ones first
    faces = jnp.pad(faces[order], [[0, FACES], [0, 0]], constant_values=-1.0)[:FACES]
    image = occlude(keys[4], image, faces)
    flipped = jnp.stack([side - faces[:, 2], faces[:, 1], side - faces[:, 0], faces[:, 3]], axis=-1)
    flipped = jnp.where(jnp.any(faces != -1.0, axis=-1)[:, None], flipped, -1.0)
    mirror = jax.random.uniform(keys[5]) < 0.5
    image = jnp.where(mirror, image[:, ::-1], image)
    return degrade(keys[6], colour(keys[7], image)), jnp.where(mirror, flipped, faces)


def occlude(key: Array, image: Array, faces: Array) -> Array:
    """Covers a part of up to four faces with a plain colour, in a third of the squares."""
    side = image.shape[0]
    rows, columns = jnp.arange(side)[:, None], jnp.arange(side)[None]
    for own in jax.random.split(key, 4):
        keys = jax.random.split(own, 4)
        real = jnp.any(faces != -1.0, axis=-1)
        face = faces[jax.random.categorical(keys[0], jnp.where(real, 0.0, -1e9))]
        extent = face[2:] - face[:2]
        start = face[:2] + extent * jax.random.uniform(keys[1], (2,), minval=-0.3, maxval=0.7)
        end = start + extent * jax.random.uniform(keys[2], (2,), minval=0.2, maxval=0.6)
        covered = (columns >= start[0]) & (columns < end[0]) & (rows >= start[1]) & (rows < end[1])
        covered &= (jax.random.uniform(keys[3]) < 0.15) & jnp.any(real)
        image = jnp.where(covered[..., None], 255 * jax.random.uniform(keys[0], (3,)), image)
    return image


def colour(key: Array, image: Array) -> Array:
    """Changes brightness, contrast, saturation, hue; a tenth of the squares is grey."""
    keys = jax.random.split(key, 7)
    apply = jax.random.uniform(keys[0], (4,)) < 0.5
    uniform = jax.random.uniform
    image = image + jnp.where(apply[0], uniform(keys[1], minval=-32.0, maxval=32.0), 0.0)
    factor = jnp.where(apply[1], uniform(keys[2], minval=0.6, maxval=1.5), 1.0)
    image = (image - image.mean()) * factor + image.mean()
    grey = image @ jnp.array([0.299, 0.587, 0.114])
    factor = jnp.where(apply[2], uniform(keys[3], minval=0.5, maxval=1.5), 1.0)
    factor = jnp.where(uniform(keys[4]) < 0.1, 0.0, factor)
    image = grey[..., None] + (image - grey[..., None]) * factor
    gains = uniform(keys[5], (3,), minval=0.85, maxval=1.15)
    return jnp.clip(image * jnp.where(apply[3], gains, 1.0), 0.0, 255.0)


def degrade(key: Array, image: Array) -> Array:
    """Blurs a fifth of the squares; adds noise to a tenth."""
    keys = jax.random.split(key, 4)
    sigma = jax.random.uniform(keys[0], minval=0.4, maxval=2.0)
    taps = jnp.exp(-0.5 * (jnp.arange(-3, 4) / sigma) ** 2)
    taps = taps / taps.sum()
    blurred = jnp.pad(image, [[3, 3], [3, 3], [0, 0]], mode="edge")
    blurred = sum(taps[i] * blurred[i : i + image.shape[0]] for i in range(7))
    blurred = sum(taps[i] * blurred[:, i : i + image.shape[1]] for i in range(7))
    image = jnp.where(jax.random.uniform(keys[1]) < 0.2, blurred, image)
    noise = jax.random.normal(keys[2], image.shape) * 8.0
    image = image + jnp.where(jax.random.uniform(keys[3]) < 0.1, noise, 0.0)
    return jnp.clip(image, 0.0, 255.0)


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
