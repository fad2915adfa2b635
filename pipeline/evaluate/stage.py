"""The evaluate stage: the scores, embeddings, figures and report of a trained model."""

import dataclasses
import json
from typing import TYPE_CHECKING

import numpy as np
from etils import epath

from components.base import artifacts, console, tensorflow_setup
from components.base.manifest import Artifact, load_artifact
from components.data.examples import ExampleBatch
from components.data.prepared_dataset import PreparedDataset
from components.metrics.mean import Mean
from components.model.network_registry import MODEL_FILE
from pipeline.apply.embed import check_image_shape
from pipeline.evaluate.config import EvaluateConfig
from pipeline.evaluate.scores import Scores
from trainer.recording.epoch_metrics import (
    EPOCH_METRICS_FILE,
    EpochMetrics,
    damaged,
    read_metrics,
)

if TYPE_CHECKING:
    from components.model.vae import VAE

REPORT = "report.html"
METRICS_FILE = "metrics.json"


def evaluate(
    config: EvaluateConfig,
    *,
    examples: epath.PathLike,
    model: epath.PathLike,
    output: epath.PathLike,
    overwrite: bool = False,
    verify: bool = False,
) -> Artifact:
    """Evaluates a model on the test split, unless the evaluation is up to date.

    Without a test split, the validation split is used, or train.

    Args:
      config: the settings.
      examples: directory of a prepared dataset.
      model: directory of a trained model.
      output: directory to publish the evaluation in.
      overwrite: whether to replace another or a damaged artifact in `output`.
      verify: whether to read all files of an artifact that is up to date, to check their content.

    Raises:
      ConfigError: `examples` or `model` is not an artifact of the right stage, the model was
        trained on images of another shape, or `output` holds something else.
      WorkError: a shard or the model is damaged.
    """
    dataset = PreparedDataset.open(examples)
    trained = load_artifact(model, stage="train")
    plan = artifacts.ArtifactPlan(
        stage="evaluate",
        directory=epath.Path(output),
        config=dataclasses.asdict(config),
        inputs={"examples": dataset.artifact.as_input(), "model": trained.as_input()},
    )
    if plan.is_up_to_date(overwrite=overwrite, verify=verify):
        console.say(f"evaluate: up to date ({output})")
        return load_artifact(output, stage="evaluate")
    check_image_shape(trained, dataset.image_shape, where=dataset.path)
    with plan.publish(overwrite=overwrite) as draft:
        # The model has the notes of the dataset that it was trained on, usually the same one.
        notes = list(dict.fromkeys([*dataset.artifact.manifest.notes, *trained.manifest.notes]))
        scores = _write_evaluation(config, dataset, trained, draft.path, notes=notes)
        draft.counts = scores.as_json()
        draft.notes = notes
    console.say(f"evaluate: report in {epath.Path(output, REPORT)}")
    return load_artifact(output, stage="evaluate")


def _write_evaluation(
    config: EvaluateConfig,
    dataset: PreparedDataset,
    trained: Artifact,
    directory: epath.Path,
    *,
    notes: list[str],
) -> Scores:
    """Writes all files of an evaluation to `directory`; the report shows the notes."""
    tensorflow_setup.load()
    from components.model import vae
    from pipeline.evaluate import report
    from pipeline.evaluate.figures import FigureWriter

    model = vae.load(trained.verified(MODEL_FILE))
    split = dataset.splits[-1]
    split_examples = dataset.read(split)

    console.say(f"evaluate: embedding {', '.join(dataset.splits)}")
    means = _embed(dataset, trained, split, directory / "embeddings")

    console.say(f"evaluate: scoring {len(split_examples):,} {split} examples")
    preset = trained.setting("preset", str)
    scores = _score(
        model,
        split_examples,
        config,
        # Names may come from strangers, and hold characters that no font and no page has.
        dataset=console.visible(dataset.name),
        preset=console.visible(preset),
        split=split,
    )
    (directory / METRICS_FILE).write_text(json.dumps(scores.as_json(), indent=2) + "\n")

    console.say("evaluate: drawing")
    figures = directory / "figures"
    figures.mkdir(parents=True)
    writer = FigureWriter(figures, vae=model, scores=scores, class_names=dataset.class_names)
    writer.draw_latent_space(means, split_examples.labels)
    writer.draw_samples(seed=config.draws_seed)
    writer.draw_reconstructions(split_examples)
    writer.draw_learning_curves(_epochs(trained))

    page = report.render(scores, trained, [console.visible(note) for note in notes])
    (directory / REPORT).write_text(page)
    return scores


def _epochs(trained: Artifact) -> list[EpochMetrics]:
    """The metrics of the epochs of a model.

    Raises:
      WorkError: there are none, or the file is damaged.
    """
    path = trained.verified(EPOCH_METRICS_FILE)
    if not (epochs := read_metrics(path)):
        raise damaged(path, "it has no rows")
    return epochs


def _embed(
    dataset: PreparedDataset, trained: Artifact, split: str, directory: epath.Path
) -> np.ndarray:
    """Writes the embeddings of all splits; returns those of `split`, shape [N, latents]."""
    from components.model import embeddings
    from pipeline.apply.embed import EmbedTask, embed_shards, parquet_name

    directory.mkdir(parents=True)
    tasks = [
        EmbedTask(
            str(dataset.path / shard.file),
            str(directory / parquet_name(shard.file)),
            dataset.artifact.output(shard.file).sha256,
            name,
            tuple(dataset.class_names),
        )
        for name in dataset.splits
        for shard in dataset.shards[name]
    ]
    embed_shards(tasks, model=trained, stage="evaluate")
    paths = [directory / parquet_name(shard.file) for shard in dataset.shards[split]]
    return np.concatenate([embeddings.read(path).means for path in paths])


def _score(
    model: "VAE",
    examples: ExampleBatch,
    config: EvaluateConfig,
    *,
    dataset: str,
    preset: str,
    split: str,
) -> Scores:
    """Scores the examples of a split."""
    from components.metrics import likelihood

    elbo = likelihood.estimate_elbo(
        model, examples.images, seed=config.draws_seed, samples=config.draws
    )
    return Scores(
        dataset=dataset,
        preset=preset,
        split=split,
        examples=len(examples),
        draws=config.draws,
        elbo=Mean.of(elbo.elbo),
        rate=Mean.of(elbo.rate),
        distortion=Mean.of(elbo.distortion),
    )
