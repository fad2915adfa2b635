"""The hosts of a run, as the environment variable TF_CONFIG lists them."""

import dataclasses
import json
import os

from components.base.errors import ConfigError

_JOBS = ("chief", "worker")


@dataclasses.dataclass(frozen=True)
class Host:
    """The position of this host among the hosts of a run. Only the chief writes files.

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
    """The host that TF_CONFIG describes; a single host if it lists none.

    A cluster may have workers and, on managed platforms, a chief. The chief is host 0, and the
    workers follow; without a chief, the first worker is the chief.

    Raises:
      ConfigError: TF_CONFIG is malformed, or its cluster has other jobs.
    """
    text = os.environ.get("TF_CONFIG")
    if not text:
        return Host()
    try:
        tf_config = json.loads(text)
        jobs = {name: hosts for name, hosts in (tf_config.get("cluster") or {}).items() if hosts}
        if not jobs:
            return Host()
        task = tf_config["task"]
        job, index = task["type"], int(task["index"])
        if others := sorted({*jobs, job} - set(_JOBS)):
            raise ConfigError(
                f"TF_CONFIG has the job {others[0]!r}, but every host of a run is a worker or the "
                f"chief; start no {others[0]}, and leave it out of the cluster. Received: {text}"
            )
        are_lists = all(isinstance(hosts, list) for hosts in jobs.values())
        has_one_chief = len(jobs.get("chief", ())) <= 1
        if not (are_lists and has_one_chief and 0 <= index < len(jobs[job])):
            raise ValueError(text)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ConfigError(
            'TF_CONFIG must be {"cluster": {"worker": ["host:port", …]}, '
            '"task": {"type": "worker", "index": N}}, N less than the number of workers; one host '
            f'may be the "chief" instead. Received: {text}'
        ) from None
    before = len(jobs.get("chief", ())) if job == "worker" else 0
    return Host(before + index, sum(map(len, jobs.values())))
