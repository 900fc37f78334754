"""Where training runs: one device, all GPUs of a machine, or several machines."""

import json
import os

import tensorflow as tf

from ssh_tf.config import TrainConfig
from ssh_tf.errors import UserError


def make_strategy() -> tf.distribute.Strategy:
    """Returns the strategy for the devices there are.

    With `TF_CONFIG` in the environment: `MultiWorkerMirroredStrategy` over the machines it names,
    which must be made before TensorFlow's first operation. Else `MirroredStrategy` over all GPUs,
    or over the CPU where there is none.

    Raises:
        UserError: If `TF_CONFIG` is not what TensorFlow expects.
    """
    if cluster := os.environ.get("TF_CONFIG"):
        _check_cluster(cluster)
        return tf.distribute.MultiWorkerMirroredStrategy()
    gpus = [device.name for device in tf.config.list_logical_devices("GPU")]
    return tf.distribute.MirroredStrategy(gpus or ["CPU:0"])


def _check_cluster(text: str) -> None:
    try:
        config = json.loads(text)
        jobs, task = config["cluster"], config["task"]
        known = jobs[task["type"]][int(task["index"])]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise UserError(
            f"TF_CONFIG names no task of its cluster ({error!r}). Expected JSON such as "
            '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, '
            '"task": {"type": "worker", "index": 0}}.'
        ) from error
    if not isinstance(known, str) or ":" not in known:
        raise UserError(f"TF_CONFIG: each worker must be host:port. Received: {known!r}.")
    # TensorFlow 1 and some clouds write `master`; `ps` and `evaluator` are of other strategies.
    if other := sorted(set(jobs) - {"chief", "worker"}):
        raise UserError(
            f"TF_CONFIG: the cluster has the job {', '.join(other)}. Expected `worker` and, if "
            "any, `chief`, as `master` is called now. To train on this machine alone, unset it."
        )


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes the run's files: of several machines only one does."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.task_type:
        return True
    has_chief = "chief" in resolver.cluster_spec().jobs
    first = resolver.task_type == "worker" and resolver.task_id == 0
    return bool(resolver.task_type == "chief" or (first and not has_chief))


def micro_batches(config: TrainConfig, replicas: int) -> int:
    """Returns how many batches per replica one update averages over (Caffe's iter_size).

    Args:
        config: `images_per_update` and `images_per_replica`.
        replicas: Devices, of all machines together.

    Raises:
        UserError: If the images of an update can't be divided evenly.
    """
    images = config.images_per_replica * replicas
    count, rest = divmod(config.images_per_update, images)
    if rest or not count:
        raise UserError(
            f"train.images_per_update ({config.images_per_update}) must be a multiple of "
            f"{replicas} devices x train.images_per_replica ({config.images_per_replica})."
        )
    return count
