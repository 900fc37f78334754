"""Ray itself: is it installed, start it or join it, what it has, which machine this is."""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from typing import Any

from ssh_tf.environment import pin_ray
from ssh_tf.errors import UserError

# What starts a Ray of this machine instead of joining a cluster.
THIS_MACHINE = "auto"
# Bytes of shared memory of a Ray of this machine: what travels are lists of names and counts.
_OBJECT_STORE = 2**28


def import_ray() -> Any:
    """Imports Ray, which must not report to its makers.

    Raises:
        UserError: If it is not installed.
    """
    pin_ray()
    try:
        import pyarrow
        import ray
    except ImportError as error:
        raise UserError(
            'Work on many machines needs Ray. Install it: pip install "ssh-tf[ray]".'
        ) from error
    del pyarrow
    return ray


@contextlib.contextmanager
def connected(address: str) -> Iterator[None]:
    """Starts a Ray of this machine, or joins a cluster, and leaves it in the end.

    A Ray that this process is connected to already is used as it is, and stays.

    Args:
        address: `auto` for this machine, or `HOST:PORT` of a cluster's head.

    Raises:
        UserError: If Ray is not installed, does not start or does not answer.
    """
    ray = import_ray()
    if ray.is_initialized():
        yield
        return
    local: dict[str, Any] = {"include_dashboard": False, "object_store_memory": _OBJECT_STORE}
    try:
        ray.init(
            address="local" if address == THIS_MACHINE else address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            **(local if address == THIS_MACHINE else {}),
        )
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        raise UserError(_reason(address, error)) from error
    try:
        yield
    finally:
        ray.shutdown()


def _reason(address: str, error: Exception) -> str:
    what = " ".join(str(error).split())[:200]
    if address == THIS_MACHINE:
        return f"Ray does not start on this machine ({what}). Free memory and space in /tmp."
    return (
        f"No Ray cluster can be joined at {address} ({what}). Check the address; one that wants a "
        "token needs RAY_AUTH_MODE=token, and the token in ~/.ray/auth_token or RAY_AUTH_TOKEN."
    )


def capacity(cpus: float, gpus: float) -> int:
    """Returns how many detectors of this share of a machine the cluster has room for now."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    shares = [(name, share) for name, share in (("CPU", cpus), ("GPU", gpus)) if share]
    # The slack is for shares such as 0.1, of which three are more than 0.3.
    return sum(min(int(has.get(name, 0) / share + 1e-6) for name, share in shares) for has in nodes)


def node_name() -> str:
    """Returns the identity of the Ray node that this process runs on; empty outside of Ray."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return ""
    return str(ray.get_runtime_context().get_node_id())


def enter(folder: str) -> None:
    """Makes the driver's working folder this process', so that relative paths mean the same."""
    with contextlib.suppress(OSError):  # It is not on every machine.
        os.chdir(folder)
