"""What the tests of commands share."""

import sys
from collections.abc import Callable

import pytest

from components.base.errors import ConfigError
from pipeline import __main__ as pipeline_command


@pytest.fixture
def mistake(monkeypatch, tmp_path) -> Callable[..., str]:
    """Returns a function that runs `python -m pipeline WORDS` in this process.

    The words must be wrong. It returns the message about them, which is one line.
    """
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "no_datasets"))

    def run(*words: object) -> str:
        monkeypatch.setattr(sys, "argv", ["pipeline", *map(str, words)])
        with pytest.raises(ConfigError) as raised:
            pipeline_command.main()
        message = str(raised.value)
        assert message.count("\n") == 0
        return message

    return run
