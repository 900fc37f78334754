"""Fixtures of the evaluation's tests."""

import pytest


@pytest.fixture
def unsaved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made but not rendered, which takes most of a report's time."""
    monkeypatch.setattr("ssh_tf.evaluation.report.save_figure", lambda *_: None)
