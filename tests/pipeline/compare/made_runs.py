"""Runs with scores that a test chooses."""

import hashlib

import numpy as np
from etils import epath

from components.base.manifest import Artifact, Manifest
from components.metrics.mean import Mean
from pipeline.compare.runs import ComparedRun
from pipeline.evaluate.example_scores import ExampleScores
from pipeline.evaluate.scores import Scores, ScoringProtocol
from trainer.recording.epoch_metrics import EpochMetrics
from trainer.train_counts import TrainCounts


def made_run(
    name: str,
    elbo: np.ndarray,
    *,
    config: dict | None = None,
    images: str = "the same",
    likelihood: str = "bernoulli",
    has_examples: bool = True,
    **others: np.ndarray,
) -> ComparedRun:
    """A run with an ELBO of each image, and other metrics; `images` names the set of images."""
    values = {"elbo": elbo, **others}
    losses = {"loss": 30.0, "rate": 10.0, "distortion": 20.0}
    row = EpochMetrics(1, 10, losses, losses, 1e-3, 1.0)
    artifacts = [
        Artifact(
            epath.Path(name, stage),
            Manifest(
                format_version=1,
                stage=stage,
                config=settings,
                inputs={},
                outputs={},
                counts={},
                notes=[],
                versions={},
                wall_seconds=12.3,
            ),
        )
        for stage, settings in (("train", config or {}), ("evaluate", {"draws": 4}))
    ]
    return ComparedRun(
        name=name,
        model=artifacts[0],
        evaluation=artifacts[1],
        scores=Scores(
            dataset="garments",
            preset="mlp",
            split="test",
            examples=len(elbo),
            draws=4,
            means={name: Mean.of(each[~np.isnan(each)]) for name, each in values.items()},
            protocol=ScoringProtocol(likelihood=likelihood),
        ),
        examples=ExampleScores(
            ids=[str(number) for number in range(len(elbo))],
            images=[hashlib.md5(f"{images} {n}".encode()).digest() for n in range(len(elbo))],
            by_name=values,
        )
        if has_examples
        else None,
        epochs=[row],
        counts=TrainCounts(1234, 10, "float32", ["CPU"], 1, row, row),
    )
