"""The hosts of a run, as the environment variable TF_CONFIG lists them."""

import dataclasses
import json
import os

from components.base.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Host:
    """This host's place among the hosts of a run. Only the chief writes files.

    Attributes:
      index: number of this host, counted from 0; the chief is host 0.
      count: number of hosts.
    """

    index: int = 0
    count: int = 1

    @property
    def is_chief(self) -> bool:
        """Whether this host writes checkpoints, metrics and the model."""
        return self.index == 0


def host() -> Host:
    """The host that TF_CONFIG describes; a single host if the variable is not set.

    Raises:
      ConfigError: TF_CONFIG is malformed, or its cluster has tasks other than workers.
    """
    text = os.environ.get("TF_CONFIG")
    if not text:
        return Host()
    try:
        tf_config = json.loads(text)
        workers, task = tf_config["cluster"]["worker"], tf_config["task"]
        index = int(task["index"])
        has_only_workers = set(tf_config["cluster"]) == {"worker"} and task["type"] == "worker"
        if not (has_only_workers and isinstance(workers, list) and 0 <= index < len(workers)):
            raise ValueError(text)
    except (ValueError, KeyError, TypeError):
        raise ConfigError(
            'TF_CONFIG must be {"cluster": {"worker": ["host:port", …]}, '
            '"task": {"type": "worker", "index": N}}, N less than the number of workers. '
            f"Received: {text}"
        ) from None
    return Host(index, len(workers))
