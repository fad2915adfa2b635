"""All three stages in order, each skipped where it is up to date, with one summary at the end."""

import time
from collections.abc import Sequence

from etils import epath

from pipeline.evaluate.config import EvaluateConfig
from pipeline.evaluate.stage import REPORT, evaluate
from pipeline.prepare.config import PrepareConfig
from pipeline.prepare.stage import prepare
from trainer import stage
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
    beam_args: Sequence[str] = (),
) -> str:
    """Prepares, trains and evaluates in `directory`; returns the summary.

    Raises:
      UserError: a stage's; what the stages before it published stays.
    """
    root = epath.Path(directory)
    examples, model, evaluation = (root / name for name in ("examples", "model", "evaluation"))
    clock = _Clock()
    prepare(prepare_config, output=examples, overwrite=overwrite, beam_args=beam_args)
    clock.lap("prepare", examples)
    stage.run(
        preset,
        train_config,
        examples=examples,
        output=model,
        options=run_options,
        overwrite=overwrite,
    )
    clock.lap("train", model)
    evaluated = evaluate(
        evaluate_config, examples=examples, model=model, output=evaluation, overwrite=overwrite
    )
    clock.lap("evaluate", evaluation)
    scores = evaluated.manifest["counts"]
    elbo, rate, distortion = (scores[name] for name in ("elbo", "rate", "distortion"))
    return "\n".join(
        [
            *clock.lines,
            "",
            f"{scores['dataset']}, preset {scores['preset']}, {scores['split']} ELBO "
            f"{elbo['mean']:.2f} ± {elbo['half_width_95']:.2f} nats "
            f"(rate {rate['mean']:.2f}, distortion {distortion['mean']:.2f})",
            f"open {evaluation / REPORT}",
        ]
    )


class _Clock:
    """Wall time of each stage."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._start = time.monotonic()

    def lap(self, name: str, directory: epath.Path) -> None:
        now = time.monotonic()
        self.lines.append(f"{name:<10}{now - self._start:8.1f} s   {directory}")
        self._start = now
