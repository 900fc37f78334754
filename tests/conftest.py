"""Fixtures and process-wide test settings; the only fixture module."""

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
TEST_DATA = Path(os.environ.get("SSH_TF_TEST_DATA", REPOSITORY / ".." / "shared" / "data"))


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of third-party test data; skips where it is absent."""
    if not TEST_DATA.is_dir():
        pytest.skip(f"needs the third-party test data: no folder {TEST_DATA} (SSH_TF_TEST_DATA)")
    return TEST_DATA.resolve()


@pytest.fixture
def rng() -> np.random.Generator:
    """A seeded generator."""
    return np.random.default_rng(0)
