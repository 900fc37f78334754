"""The OHEM loss layer and the training model that ends in one per detection module."""

from typing import Any

import keras
from keras import ops

from ssh_tf.config import LossConfig, ModuleConfig
from ssh_tf.geometry.anchors import anchor_grid, grid_size
from ssh_tf.geometry.boxes import encode, include_last_pixel
from ssh_tf.geometry.proposals import face_probability
from ssh_tf.geometry.targets import (
    FACE_PADDING,
    NEGATIVE,
    POSITIVE,
    label_anchors,
    match,
    mine,
    random_ranks,
    trainable_anchors,
)
from ssh_tf.model.losses import box_loss, class_loss
from ssh_tf.model.ssh import SSH

Tensor = Any

# What the layer reports for each image, in this order.
TERMS = ("cls_loss", "box_loss", "positives", "negatives")


@keras.saving.register_keras_serializable("ssh_tf")
class OhemLoss(keras.layers.Layer):
    """Online hard example mining and the two losses of one detection module.

    Adds the mean over images of `cls_loss + box_loss` to the model's losses.

    Args:
        module: The detection module; a dict of its fields is accepted.
        loss: The rules; a dict of its fields is accepted.

    References:
        `SSH/layers/anchor_target_layer.py`; `train_ssh.prototxt` (loss weights 1).
    """

    def __init__(
        self,
        module: ModuleConfig | dict[str, Any],
        loss: LossConfig | dict[str, Any],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.module = ModuleConfig.model_validate(module)
        self.loss = LossConfig.model_validate(loss)

    def call(
        self, logits: Tensor, deltas: Tensor, *, images: Tensor, sizes: Tensor, faces: Tensor
    ) -> dict[str, Tensor]:
        """Computes the losses of a batch.

        Args:
            logits: `[B, N, 2]` background, face.
            deltas: `[B, N, 4]`.
            images: `[B, H, W, 3]`; only the canvas' size is read.
            sizes: `[B, 2]` int32, height and width of each image on the canvas, px.
            faces: `[B, M, 4]` float32 official corners in network px; padding is `FACE_PADDING`.

        Returns:
            `TERMS` -> `[B]` float32.
        """
        logits, deltas = ops.cast(logits, "float32"), ops.cast(deltas, "float32")
        labels, targets = assign(
            ops.stop_gradient(face_probability(logits)),
            self.anchors(ops.shape(images)[1], ops.shape(images)[2]),
            sizes,
            faces,
            module=self.module,
            loss=self.loss,
        )
        terms = {
            "cls_loss": class_loss(logits, labels),
            "box_loss": box_loss(
                deltas,
                targets,
                labels,
                sigma=self.loss.sigma,
                normalizer=self.loss.box_normalizer,
            ),
            "positives": ops.sum(ops.cast(labels == POSITIVE, "float32"), axis=-1),
            "negatives": ops.sum(ops.cast(labels == NEGATIVE, "float32"), axis=-1),
        }
        self.add_loss(ops.mean(terms["cls_loss"] + terms["box_loss"]))
        return terms

    def compute_output_spec(self, logits: Tensor, deltas: Tensor, **inputs: Tensor) -> Any:
        """One value per image for each of `TERMS`; said here, as shapes decide nothing else."""
        return {term: keras.KerasTensor(logits.shape[:1], "float32") for term in TERMS}

    def anchors(self, height: Tensor, width: Tensor) -> Tensor:
        """Returns the module's anchors on a canvas: `[N, 4]` float32, half-open, network px."""
        stride = self.module.stride
        return anchor_grid(
            grid_size(height, stride),
            grid_size(width, stride),
            stride=stride,
            scales=self.module.anchor_scales,
        )

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        module, loss = self.module.model_dump(mode="json"), self.loss.model_dump(mode="json")
        return {**super().get_config(), "module": module, "loss": loss}


def assign(
    probability: Tensor,
    anchors: Tensor,
    sizes: Tensor,
    faces: Tensor,
    *,
    module: ModuleConfig,
    loss: LossConfig,
) -> tuple[Tensor, Tensor]:
    """Labels a module's anchors, mines the hard ones and computes their regression targets.

    Args:
        probability: `[B, N]` float32, the network's face probabilities.
        anchors: `[N, 4]` float32, half-open, network px.
        sizes: `[B, 2]` int, height and width of each image, px.
        faces: `[B, M, 4]` float32 official corners, network px; padding is `FACE_PADDING`.
        module: The detection module.
        loss: The rules.

    Returns:
        `(labels, targets)`: `[B, N]` int32 and `[B, N, 4]` float32. Targets of anchors that are not
        positive may hold infinities.
    """
    # -1 becomes [-1, -1, 0, 0]: a box outside every image that overlaps nothing inside; but M3's
    # anchors reach there, so padding is made empty instead.
    real = ops.expand_dims(ops.any(faces != FACE_PADDING, axis=-1), -1)  # [B, M, 1]
    faces = ops.where(real, include_last_pixel(faces), 0.0)
    iou, face = match(anchors, faces)  # [B, N], [B, N, 4]
    labels = label_anchors(
        iou,
        trainable_anchors(anchors, sizes, allowed_border=module.allowed_border),
        positive_iou=loss.positive_iou,
        positive_inclusive=loss.positive_inclusive,
        negative_iou=loss.negative_iou,
    )
    # [B, N], as the labels before and after.
    ranks = probability if loss.mining == "hard" else random_ranks(probability)
    labels = mine(labels, ranks, samples=loss.samples, positive_fraction=loss.positive_fraction)
    return labels, encode(face, anchors)


def training_model(network: SSH, loss: LossConfig) -> keras.Model:
    """Appends an `OhemLoss` to each module of a network.

    Args:
        network: The detector; its layers are shared, not copied.
        loss: The rules.

    Returns:
        A model of `images`, `sizes` (as the network's) and `faces` `[B, M, 4]` float32 (official
        corners in network px, padded with rows of -1) whose outputs are `<module>_<term>` `[B]` and
        whose `losses` are one scalar per module.
    """
    inputs = {
        "images": keras.Input((None, None, 3), name="images"),
        "sizes": keras.Input((2,), dtype="int32", name="sizes"),
        "faces": keras.Input((None, 4), name="faces"),
    }
    outputs = network({"images": inputs["images"], "sizes": inputs["sizes"]})
    terms = {}
    for module in network.config.modules:
        layer = OhemLoss(module, loss, name=f"{module.name}_ohem", dtype="float32")
        result = layer(outputs[f"{module.name}_logits"], outputs[f"{module.name}_deltas"], **inputs)
        terms.update({f"{module.name}_{term}": value for term, value in result.items()})
    return keras.Model(inputs, terms, name="ssh_training")
