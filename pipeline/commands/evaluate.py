"""The command `evaluate`: how good a model is."""

import argparse
from typing import Any

from components.base.config import add_options
from pipeline.commands import options
from pipeline.commands.command import Command
from pipeline.evaluate.config import EvaluateConfig

_DESCRIPTION = """Evaluate a model on the test split of a prepared dataset.

Without a test split, the validation split is used, or train. Writes metrics.json (ELBO, rate and
distortion, in nats per example, with 95 % confidence intervals; with --importance_samples the
negative log-likelihood too; bits per dimension for likelihoods over 256 levels), the embeddings of
all splits as Parquet files, figures, and report.html, which shows everything on one page.

  python -m pipeline evaluate --examples runs/demo/examples --model runs/demo/model \\
    --output runs/demo/evaluation
"""


def _add_options(parser: argparse.ArgumentParser) -> None:
    options.add_directory(
        parser,
        "--examples",
        "directory of a prepared dataset, made by `python -m pipeline prepare`",
    )
    options.add_model(parser)
    options.add_directory(parser, "--output", "directory to write the evaluation to")
    add_options(parser, EvaluateConfig, hide_defaults=("metrics",))
    options.add_requirements(parser)


def _execute(values: dict[str, Any]) -> None:
    config = options.settings(EvaluateConfig, values)
    requirements = options.requirements(values, config.metrics)

    from pipeline.evaluate.stage import evaluate

    evaluate(config, **values)
    requirements.check(values["output"])


COMMAND = Command("evaluate", _DESCRIPTION, _add_options, _execute)
