"""The names of the experiment trackers, for the command line, without their imports."""

import importlib.util

from components.base.errors import ConfigError

NONE, MLFLOW = "none", "mlflow"
TRACKERS = (NONE, MLFLOW)


def check_installed(tracker: str) -> None:
    """Checks that the package of a tracker is installed, without importing it.

    Raises:
      ConfigError: it is not; the message has the command that installs it.
    """
    if tracker == MLFLOW and importlib.util.find_spec("mlflow") is None:
        raise ConfigError(
            "--tracker mlflow needs the package mlflow-skinny, which the extra `mlflow` installs: "
            "run `pip install mlflow-skinny`"
        )
