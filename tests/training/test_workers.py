"""Several machines: the same command on each, here as two processes on this one."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ssh_tf.config import to_yaml
from ssh_tf.data.builder import build_records
from ssh_tf.data.sources import open_wider
from ssh_tf.data.synthetic import generate
from ssh_tf.errors import UserError
from ssh_tf.training.run_folder import load_run
from ssh_tf.training.strategy import make_strategy
from ssh_tf.training.table import read_table
from ssh_tf.training.trainer import train
from tests.support.small import small_config
from tests.training.test_trainer import ONE_MODULE

PATIENCE_SECONDS = 240


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


def test_two_workers_agree_with_one_on_the_joined_batch(tmp_path: Path):
    generate(tmp_path / "wider", images=6, seed=0, size=(96, 96), smallest_px=20)
    build_records(open_wider(tmp_path / "wider", "train"), tmp_path / "records", shards=2)
    config = small_config(
        model=ONE_MODULE,
        data={"records": str(tmp_path / "records")},
        train={"steps": 3, "images_per_update": 2, "ema_decay": 0.5, "clip_norm": 5.0},
    )
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    command = [sys.executable, "-m", "ssh_tf.cli", "train", "--config", "config.yaml"]
    workers = [f"127.0.0.1:{port}" for port in free_ports(2)]
    processes = []
    for index in range(2):
        task = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
        path = os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])
        processes.append(
            subprocess.Popen(
                [*command, "--workdir", "run"],
                cwd=tmp_path,
                env={**os.environ, "TF_CONFIG": json.dumps(task), "PYTHONPATH": path},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    outputs = [process.communicate(timeout=PATIENCE_SECONDS)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)
    train(config, tmp_path / "alone")
    ours, theirs = (load_run(tmp_path / name).get_weights() for name in ("run", "alone"))
    for one, two in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)
    assert [row["step"] for row in read_table(tmp_path / "run" / "logs.csv")] == [1, 2, 3]
    parts = "replicas: 2, images per replica: 1, micro-batches: 1"
    assert f"Images per update: 2 ({parts})" in outputs[0]


@pytest.mark.parametrize(
    "text",
    [
        "worker",
        "{}",
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "chief", "index": 0}}',
        '{"cluster": {"worker": ["a"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"master": ["a:1"]}, "task": {"type": "master", "index": 0}}',
        '{"cluster": {"ps": ["a:1"], "worker": ["a:2"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": [], "task": {"type": "worker", "index": 0}}',
        "[]",
    ],
)
def test_a_tf_config_without_its_task_is_refused(monkeypatch: pytest.MonkeyPatch, text: str):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(UserError, match="TF_CONFIG"):
        make_strategy()
