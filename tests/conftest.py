"""Fixtures and process-wide test settings."""

import os
from collections.abc import Generator
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
TEST_DATA = Path(os.environ.get("SSH_TF_TEST_DATA", REPOSITORY / ".." / "shared" / "data"))


def pytest_configure(config: pytest.Config) -> None:
    """Splits the CPU in two logical devices, before TensorFlow's first operation."""
    runs_none = config.getoption("numprocesses", None) and not hasattr(config, "workerinput")
    if not runs_none and os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
        import tensorflow as tf

        (cpu,) = tf.config.list_physical_devices("CPU")
        halves = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(cpu, halves)


# Modules, by their path in this folder, that train, export, serve, start processes or read what the
# official code gave: `make test-fast` leaves them out.
SLOW = (
    "cli/test_benchmark.py",
    "client/",
    "data/test_builder.py",
    "data/test_pipeline.py",
    "data/test_synthetic.py",
    "distributed/test_ray.py",
    "evaluation/test_fddb.py",
    "evaluation/test_pascal.py",
    "evaluation/test_run.py",
    "evaluation/test_validation.py",
    "evaluation/test_wider.py",
    "docs/",
    "export/",
    "imaging/test_redact.py",
    "inference/runtimes/",
    "inference/test_detector.py",
    "inference/test_exported.py",
    "inference/test_graph.py",
    "inference/test_timing.py",
    "inference/test_video.py",
    "model/backbones/",
    "model/caffe/",
    "model/test_ssh.py",
    "model/test_weights.py",
    "server/",
    "test_golden",
    "test_recipes.py",
    "training/test_checkpoints.py",
    "training/test_options.py",
    "training/test_run_folder.py",
    "training/test_solver.py",
    "training/test_trainer.py",
    "training/test_workers.py",
    "zoo/",
)


# The longest of them. They begin first, so that one process does not end long after the other.
LONGEST = ("training/", "test_golden", "distributed/test_ray.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests of slow modules, and lets the longest begin."""
    names = {item: item.path.relative_to(Path(__file__).parent).as_posix() for item in items}
    for item, name in names.items():
        if name.startswith(SLOW):
            item.add_marker("slow")
    items.sort(key=lambda item: not names[item].startswith(LONGEST))  # otherwise as they were


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Makes what a test logged sendable: file names that are no UTF-8 stop pytest-xdist."""
    report = yield
    report.sections = [
        (title, text.encode("utf-8", "backslashreplace").decode())
        for title, text in report.sections
    ]
    return report


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of third-party test data; skips where it is absent, unless that is forbidden."""
    if not TEST_DATA.is_dir():
        reason = f"needs the third-party test data: no folder {TEST_DATA} (SSH_TF_TEST_DATA)"
        if os.environ.get("SSH_TF_REQUIRE_TEST_DATA"):
            pytest.fail(reason)
        pytest.skip(reason)
    return TEST_DATA.resolve()


@pytest.fixture
def rng() -> np.random.Generator:
    """A seeded generator."""
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def small_export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with version 1 of an export of the small network, for all that only read it."""
    from ssh_tf.export.savedmodel import export_savedmodel
    from tests.support.small import small_config, small_network

    folder = tmp_path_factory.mktemp("ssh")
    export_savedmodel(small_network(), small_config().detect, folder)
    return folder
