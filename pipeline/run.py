"""Runs the three stages, one after the other, and summarizes the result."""

import time
from collections.abc import Sequence

from etils import epath

from components.base.manifest import load_artifact
from pipeline.evaluate.config import EvaluateConfig
from pipeline.evaluate.scores import Scores
from pipeline.evaluate.stage import REPORT, evaluate
from pipeline.prepare.config import PrepareConfig
from pipeline.prepare.stage import prepare
from trainer import stage, tracking
from trainer.config import RunOptions, TrainConfig


def run(
    directory: epath.PathLike,
    *,
    prepare_config: PrepareConfig,
    preset: str,
    train_config: TrainConfig,
    run_options: RunOptions = RunOptions(),  # noqa: B008 - frozen
    evaluate_config: EvaluateConfig,
    overwrite: bool = False,
    verify: bool = False,
    beam_args: Sequence[str] = (),
) -> str:
    """Runs the three stages in `directory`, each unless it is up to date.

    Args:
      directory: directory of the run; each stage writes to a directory in it.
      prepare_config: the settings of prepare.
      preset: name of the preset that `train_config` comes from.
      train_config: the settings of the model and its training.
      run_options: options of the training that do not change the result.
      evaluate_config: the settings of evaluate.
      overwrite: whether to replace other or damaged artifacts in `directory`.
      verify: whether to read all files of artifacts that are up to date, to check their content.
      beam_args: options of Beam.

    Returns:
      The summary: the duration of each stage, the notes of the dataset (such as which one `auto`
      became), the scores, and the path of the report.

    Raises:
      UserError: a stage failed; the artifacts of earlier stages remain.
    """
    root = epath.Path(directory)
    examples, model, evaluation = (root / name for name in ("examples", "model", "evaluation"))
    clock = _Clock()
    prepare(
        prepare_config, output=examples, overwrite=overwrite, verify=verify, beam_args=beam_args
    )
    clock.lap("prepare", examples)
    is_trained = stage.run(
        preset,
        train_config,
        examples=examples,
        output=model,
        options=run_options,
        overwrite=overwrite,
        verify=verify,
    )
    clock.lap("train", model)
    of_data, of_model = (
        load_artifact(directory, stage=name).manifest.notes
        for directory, name in ((examples, "prepare"), (model, "train"))
    )
    evaluation_artifact = evaluate(
        evaluate_config,
        examples=examples,
        model=model,
        output=evaluation,
        overwrite=overwrite,
        verify=verify,
        known=of_model,
    )
    clock.lap("evaluate", evaluation)
    # The trainer has told its own notes as warnings.
    told = set(of_model) - set(of_data) if is_trained else set()
    scores = Scores.of(evaluation_artifact)
    tracking.track(
        run_options.tracker,
        model,
        evaluation=evaluation_artifact,
        scores={name: mean.value for name, mean in scores.means.items()},
    )
    return "\n".join(
        [
            *clock.lines,
            "",
            *(f"note: {note}" for note in evaluation_artifact.manifest.notes if note not in told),
            f"{scores.dataset}, preset {scores.preset}, {scores.split} ELBO "
            f"{scores.metric('elbo')} nats "
            f"(rate {scores.metric('rate').value:z.2f}, "
            f"distortion {scores.metric('distortion').value:z.2f})",
            *_further(scores),
            *scores.measured_on(),
            f"report: {evaluation / REPORT}",
        ]
    )


def _further(scores: Scores) -> list[str]:
    """The lines for metrics that only some evaluations have."""
    lines = []
    if "nll" in scores.means:
        samples = scores.protocol.importance_samples
        with_samples = f" with {samples:,} importance samples" if samples else ""
        lines.append(
            f"{scores.split} negative log-likelihood {scores.metric('nll')} nats{with_samples}"
        )
    if "bits_per_dim" in scores.means:
        lines.append(f"{scores.split} {scores.metric('bits_per_dim').value:.3f} bits per dimension")
    # An evaluation of an earlier version is up to date, and has none.
    if "psnr" in scores.means:
        lines.append(f"{scores.split} PSNR of reconstructions {scores.metric('psnr')} dB")
    if "knn_accuracy" in scores.means:
        accuracy = scores.metric("knn_accuracy")
        lines.append(f"accuracy of the nearest neighbors of embeddings {accuracy.value:.2%}")
    return lines


class _Clock:
    """Measures the wall time of each stage."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._start = time.monotonic()

    def lap(self, name: str, directory: epath.Path) -> None:
        """Adds a line for a stage that has just ended."""
        now = time.monotonic()
        self.lines.append(f"{name:<10}{now - self._start:8.1f} s   {directory}")
        self._start = now
