"""A typed form of the counts in the manifest of a trained model."""

import dataclasses
from typing import Any

from trainer.recording.epoch_metrics import EpochMetrics


@dataclasses.dataclass(frozen=True)
class TrainCounts:
    """The `counts` of the manifest that the train stage writes.

    Attributes:
      parameters: number of trainable parameters of the model.
      steps: number of steps of the run.
      precision: float32, bfloat16 or float16.
      devices: for each replica of the chief, the kind of its device: CPU or GPU.
      hosts: number of hosts.
      kept: metrics of the epoch whose model was published.
      final: metrics of the last epoch.
      measured: the CPU time of a step in milliseconds, by precision, if the choice rests on it.
    """

    parameters: int
    steps: int
    precision: str
    devices: list[str]
    hosts: int
    kept: EpochMetrics
    final: EpochMetrics
    measured: dict[str, float] | None = None

    def as_json(self) -> dict[str, Any]:
        """The counts as they are in the manifest."""
        return dataclasses.asdict(self)
