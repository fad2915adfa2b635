import importlib.util

import pytest

from components.base.errors import ConfigError
from trainer.config import RunOptions


def test_a_tracker_that_is_not_installed_is_refused_before_the_work(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ConfigError, match=r"needs the package mlflow-skinny.*`pip install"
    ) as error:
        RunOptions(tracker="mlflow")
    assert "\n" not in str(error.value)
    assert RunOptions(tracker="none").tracker == "none"
