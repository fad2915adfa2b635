"""TensorBoard's table of hyper-parameters, in which each training run is a row."""

from collections.abc import Mapping
from typing import Any

from etils import epath
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import metadata
from tensorboard.plugins.hparams.api_pb2 import STATUS_SUCCESS
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.scalar.summary_v2 import scalar_pb

from components.base import console
from trainer.recording.epoch_metrics import EpochMetrics
from trainer.recording.event_file import EventFile

# The file is written again by each process of a run: TensorBoard keeps the settings that it reads
# first, and those of a run that is extended change.
_FILE_NAME = "0.hparams"


class HParamsRow:
    """The row of a run: its settings and, once it has finished, the metrics of the published model.

    TensorBoard adds columns for the last values of all curves of the run.

    Args:
      directory: TensorBoard's directory of the run, which has the curves in folders.
      settings: the settings by name: numbers, text, truth values, sequences of them, or None.
    """

    def __init__(self, directory: epath.Path, settings: Mapping[str, Any]):
        self._directory = directory
        self._start = hparams_pb({name: _cell(value) for name, value in settings.items()})
        self._write(0, [])

    def finish(self, kept: EpochMetrics) -> None:
        """Adds the metrics of the published model, and that the run has ended.

        Args:
          kept: metrics of the epoch whose model is published. Those of the held-out examples are
            shown, in nats per example, or those of the training examples if there are no others.
        """
        values = kept.train if kept.heldout is None else kept.heldout
        metrics = {**values, "epoch": float(kept.epoch)}
        if kept.heldout is not None:
            metrics["elbo"] = -kept.heldout["loss"]
        summaries = [scalar_pb(f"published/{name}", value) for name, value in metrics.items()]
        self._write(kept.step, [*summaries, _end()])

    def _write(self, step: int, summaries: list[Summary]) -> None:
        file = EventFile(self._directory, resumed_step=0, name=_FILE_NAME)
        file.write(0, [self._start])
        if summaries:
            file.write(step, summaries)
        file.close()


def _cell(value: Any) -> bool | int | float | str:
    """A setting as a cell of the table: a number, text or truth value."""
    if isinstance(value, str):
        return console.visible(value)
    if isinstance(value, bool | int | float):
        return value
    if value is None:
        return "none"
    return ",".join(map(str, value))


def _end() -> Summary:
    """The summary that a run has ended."""
    data = HParamsPluginData(session_end_info=SessionEndInfo(status=STATUS_SUCCESS))
    value = Summary.Value(
        tag=metadata.SESSION_END_INFO_TAG,
        metadata=metadata.create_summary_metadata(data),
        tensor=metadata.NULL_TENSOR,
    )
    return Summary(value=[value])
