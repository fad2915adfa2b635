"""The evaluate stage: the scores, embeddings, figures and report of a trained model."""

import dataclasses
import json
from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np
from etils import epath

from components.base import artifacts, console, tensorflow_setup
from components.base.errors import ConfigError
from components.base.manifest import Artifact, load_artifact
from components.data.prepared_dataset import PreparedDataset
from components.model import model_file
from components.model.corruption import NO_CORRUPTION, parse_corruption
from components.model.registry import MODEL_FILE
from pipeline.apply.inputs import check_image_shape
from pipeline.evaluate import example_scores
from pipeline.evaluate.class_means import means_by_class
from pipeline.evaluate.config import EvaluateConfig
from pipeline.evaluate.example_scores import EXAMPLE_SCORES_FILE
from pipeline.evaluate.scores import Scores, ScoringProtocol
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
    known: Collection[str] = (),
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
      known: texts of findings that the user has seen, which are not shown again.

    Raises:
      ConfigError: `examples` or `model` is not an artifact of the right stage, the model was
        trained on images of another shape or is conditioned on other labels, or `output` holds
        something else.
      WorkError: a shard or the model is damaged.
    """
    dataset = PreparedDataset.open(examples)
    trained = load_artifact(model, stage="train")
    plan = artifacts.ArtifactPlan(
        stage="evaluate",
        directory=epath.Path(output),
        config=dataclasses.asdict(config),
        inputs={"examples": dataset.artifact.as_input(), "model": trained.as_input()},
        # The report says when the model was trained, and where it is.
        volatile_prefixes=(REPORT,),
    )
    if plan.is_up_to_date(overwrite=overwrite, verify=verify):
        console.say(f"evaluate: up to date ({output})")
        return load_artifact(output, stage="evaluate")
    check_image_shape(trained, dataset.image_shape, where=dataset.path)
    _check_classes(trained, dataset)
    # An interrupted estimate of log-likelihoods is continued; the rest takes seconds.
    with plan.publish(resume=True, overwrite=overwrite) as draft:
        # The model has the notes of the dataset that it was trained on, usually the same one.
        notes = list(dict.fromkeys([*dataset.artifact.manifest.notes, *trained.manifest.notes]))
        scores = _write_evaluation(
            config, dataset, trained, draft.path, output=output, notes=notes, known=known
        )
        draft.counts = scores.as_json()
        draft.notes = notes
    console.say(f"evaluate: report in {epath.Path(output, REPORT)}")
    return load_artifact(output, stage="evaluate")


def _check_classes(model: Artifact, dataset: PreparedDataset) -> None:
    """Checks that a conditional model knows the labels of a dataset.

    Raises:
      ConfigError: it has another number of them.
    """
    expected, found = model_file.num_classes(model.verified(MODEL_FILE)), len(dataset.class_names)
    if expected and expected != found:
        raise ConfigError(
            f"{model.path} is conditioned on the labels of {expected:,} classes, but "
            f"{dataset.path} has {found:,}; evaluate it on the dataset that it was trained on, or "
            "train with condition none"
        )


def _write_evaluation(
    config: EvaluateConfig,
    dataset: PreparedDataset,
    trained: Artifact,
    directory: epath.Path,
    *,
    output: epath.PathLike,
    notes: list[str],
    known: Collection[str],
) -> Scores:
    """Writes all files of an evaluation to `directory`; the report shows the notes and `output`."""
    tensorflow_setup.load()
    from components.model import embeddings, vae
    from pipeline.evaluate import diagnosis, projector
    from pipeline.evaluate.figures import FigureWriter
    from pipeline.evaluate.measures.measure import Subject
    from pipeline.evaluate.measures.registry import measure_all
    from pipeline.evaluate.report import page
    from pipeline.evaluate.report.subject import ReportSubject

    model = vae.load(trained.verified(MODEL_FILE))
    split = dataset.splits[-1]
    split_examples = dataset.read(split)
    scored = split_examples.part(0, config.limit_examples or len(split_examples))

    console.say(f"evaluate: embedding {', '.join(dataset.splits)}")
    tables = _embed(dataset, trained, directory / "embeddings")

    console.say(f"evaluate: scoring {console.counted(len(scored), f'{split} example')}")
    subject = Subject(
        model,
        dataset,
        split,
        scored,
        tables,
        config=config,
        directory=directory,
        # Earlier versions had no such setting, and trained on clean images.
        corruption=parse_corruption(str(trained.manifest.config.get("corruption", NO_CORRUPTION))),
    )
    measured = measure_all(subject)
    example_scores.write(directory / EXAMPLE_SCORES_FILE, scored, measured.by_example)
    epochs = _epochs(trained)
    found = diagnosis.findings(subject, measured.means, trained=trained, epochs=epochs)
    for finding in found:
        if finding.text not in known:
            console.warn(finding.text)
    protocol = _protocol(model, trained, num_examples=len(split_examples))
    scores = Scores(
        # Names may come from strangers, and hold characters that no font and no page has.
        dataset=console.visible(dataset.name),
        preset=console.visible(trained.setting("preset", str)),
        split=split,
        examples=len(scored),
        draws=config.draws,
        means=measured.means,
        protocol=dataclasses.replace(protocol, **measured.protocol),
        not_measured=measured.not_measured,
        rate_per_dimension=subject.rate_per_dimension,
        by_class=means_by_class(measured.by_example, scored.labels, dataset.class_names),
        doctor=found,
    )
    (directory / METRICS_FILE).write_text(json.dumps(scores.as_json(), indent=2) + "\n")

    slowly = ""
    if model.head.is_sequential:
        slowly = f"; the {model.architecture.head} head decodes the pixels of an image in turn"
    console.say(f"evaluate: drawing{slowly}")
    figures = directory / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    writer = FigureWriter(
        figures,
        vae=model,
        scores=scores,
        class_names=dataset.class_names,
        formats=config.figure_format,
        titles=config.titles,
    )
    means = np.concatenate([embeddings.read(path).means for path in tables[split]])
    projector.write(
        directory / "projector",
        split=split,
        examples=split_examples,
        means=means,
        class_names=dataset.class_names,
    )
    writer.draw_learning_curves(epochs)
    samples = writer.draw_samples(seed=config.draws_seed)
    comparisons = list(measured.comparisons.values())
    for name, compared in measured.comparisons.items():
        writer.draw_comparison(name, compared)
    if "train" in dataset.splits and split != "train":
        comparisons.insert(0, writer.draw_neighbors_of_samples(samples, dataset, scored))
    report = ReportSubject(
        dataset=dataset,
        trained=trained,
        vae=model,
        config=config,
        output=output,
        scores=scores,
        epochs=epochs,
        examples=split_examples,
        means=means,
        elbo=measured.by_example["elbo"],
        space=writer.draw_latent_space(means, split_examples.labels),
        samples=samples,
        reconstructions=writer.draw_reconstructions(split_examples),
        comparisons=comparisons,
        findings=found,
        notes=[console.visible(note) for note in notes],
    )
    (directory / REPORT).write_text(page.render(report))
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
    dataset: PreparedDataset, trained: Artifact, directory: epath.Path
) -> dict[str, list[epath.Path]]:
    """Writes the embeddings of all splits; returns the paths of the tables of each split."""
    from pipeline.apply import engine
    from pipeline.apply.inputs import dataset_tasks
    from pipeline.embed.config import ENCODER_COLUMNS
    from pipeline.embed.embedding_tables import EmbeddingTables

    directory.mkdir(parents=True, exist_ok=True)
    tasks = dataset_tasks(dataset, directory)
    tables = EmbeddingTables.of(trained, columns=ENCODER_COLUMNS)
    engine.apply(tasks, tables, model=trained, stage="evaluate", verb="embedded")
    return {
        split: [epath.Path(f"{task.output}.parquet") for task in tasks if task.split == split]
        for split in dataset.splits
    }


def _protocol(model: "VAE", trained: Artifact, *, num_examples: int) -> ScoringProtocol:
    """The protocol for a split of `num_examples`; measures add their own fields."""
    from components.model.noise import EVALUATION_SEED

    return ScoringProtocol(
        likelihood=model.architecture.likelihood,
        # All figures of a conditional model are of log p(x|y), not of log p(x).
        given="label" if model.architecture.classes else None,
        binarization_seed=EVALUATION_SEED if model.family.binarizes else None,
        weights="moving average" if trained.setting("ema_decay", float) else "of the kept epoch",
        examples_in_split=num_examples,
    )
