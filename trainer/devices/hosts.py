"""The hosts of a run, as TF_CONFIG names them."""

import dataclasses
import json
import os

from components.base.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Host:
    """Which of the hosts of a run this one is. The chief alone writes.

    Attributes:
      index: counted from 0, the chief's.
      count: how many there are.
    """

    index: int = 0
    count: int = 1

    @property
    def is_chief(self) -> bool:
        return self.index == 0


def host() -> Host:
    """What TF_CONFIG says; without it there is one host.

    Raises:
      ConfigError: it cannot be read, or names a cluster of other tasks than workers.
    """
    text = os.environ.get("TF_CONFIG")
    if not text:
        return Host()
    try:
        given = json.loads(text)
        workers, task = given["cluster"]["worker"], given["task"]
        index = int(task["index"])
        is_known = set(given["cluster"]) == {"worker"} and task["type"] == "worker"
        if not (is_known and isinstance(workers, list) and 0 <= index < len(workers)):
            raise ValueError(text)
    except (ValueError, KeyError, TypeError):
        raise ConfigError(
            'TF_CONFIG must be {"cluster": {"worker": ["host:port", …]}, '
            '"task": {"type": "worker", "index": N}}, N less than the number of workers. '
            f"Received: {text}"
        ) from None
    return Host(index, len(workers))
