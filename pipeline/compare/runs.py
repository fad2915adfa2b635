"""Reads the runs that are compared from their directories."""

import dataclasses
from collections.abc import Sequence

from etils import epath

from components.base import console
from components.base.errors import ConfigError, WorkError
from components.base.manifest import Artifact, load_artifact
from pipeline.evaluate import example_scores
from pipeline.evaluate.example_scores import ExampleScores
from pipeline.evaluate.scores import Scores
from trainer.recording.epoch_metrics import EPOCH_METRICS_FILE, EpochMetrics, damaged, read_metrics
from trainer.train_counts import TrainCounts


@dataclasses.dataclass(frozen=True)
class ComparedRun:
    """A run with a model and its evaluation.

    Attributes:
      name: short name, unique among the runs that are compared.
      model: the artifact of the train stage.
      evaluation: that of the evaluate stage.
      scores: the scores of the model.
      examples: the scores of single examples; None if an earlier version evaluated the model.
      epochs: the metrics of the epochs of the training.
      counts: the counts of the train stage.
    """

    name: str
    model: Artifact
    evaluation: Artifact
    scores: Scores
    examples: ExampleScores | None
    epochs: Sequence[EpochMetrics]
    counts: TrainCounts


def load(directories: Sequence[str]) -> list[ComparedRun]:
    """The runs in directories, each with `model/` and `evaluation/`.

    Raises:
      ConfigError: there are fewer than two, one is given twice, a directory has no model or no
        evaluation, or the evaluation is of another model.
      WorkError: a file is damaged.
    """
    if len(directories) < 2:
        raise ConfigError(
            f"compare takes two runs or more. Received: {' '.join(directories) or 'none'}"
        )
    names = short_names(directories)
    return [_load(epath.Path(each), name) for each, name in zip(directories, names, strict=True)]


def short_names(directories: Sequence[str]) -> list[str]:
    """The last part of each path or, where two of them are equal, all paths.

    Raises:
      ConfigError: a directory is given twice.
    """
    paths = [epath.Path(each) for each in directories]
    for number, path in enumerate(paths):
        if path in paths[:number]:
            raise ConfigError(f"{path} is given twice; name each run once")
    last = [path.name for path in paths]
    names = last if len(set(last)) == len(last) else [str(path) for path in paths]
    return [console.visible(name) for name in names]


def _load(directory: epath.Path, name: str) -> ComparedRun:
    model = load_artifact(directory / "model", stage="train")
    evaluation = load_artifact(directory / "evaluation", stage="evaluate")
    record = evaluation.manifest.inputs.get("model")
    if record is None or record.fingerprint != model.fingerprint:
        raise ConfigError(
            f"{evaluation.path} is the evaluation of another model than {model.path}; evaluate "
            "this model, with --overwrite"
        )
    path = model.verified(EPOCH_METRICS_FILE)
    if not (epochs := read_metrics(path)):
        raise damaged(path, "it has no rows")
    examples = example_scores.read(evaluation)
    scores = Scores.of(evaluation)
    if examples is not None and len(examples.ids) != scores.examples:
        raise WorkError(
            f"{evaluation.path} has scores of {len(examples.ids):,} examples, but its manifest "
            f"says {scores.examples:,}; evaluate again with --overwrite"
        )
    return ComparedRun(name, model, evaluation, scores, examples, epochs, model.counts(TrainCounts))
