"""The classifier whose features serve to compare samples of models of a dataset.

It is trained once for a dataset and kept in the user's cache as an artifact, so that the distances
of all models of the dataset use the same features.
"""

import dataclasses

import numpy as np

from components.base import artifacts, console, user_cache
from components.base.errors import ConfigError, WorkError
from components.base.manifest import Artifact, damaged, fingerprint, load_artifact
from components.data.examples import ExampleBatch
from components.data.prepared_dataset import PreparedDataset
from components.metrics.feature_classifier import ClassifierSettings, FeatureClassifier
from components.sources.source import UNLABELLED

_STAGE = "features"
_WEIGHTS = "weights.bin"
_SCORED_EXAMPLES = 10_000


@dataclasses.dataclass(frozen=True)
class ClassifierScore:
    """The quality of a classifier, as in its manifest.

    Attributes:
      accuracy: fraction of the labels of held-out examples that it predicts.
      split: their split; `train` means its last tenth, which the classifier is not trained on.
      examples: number of held-out examples.
    """

    accuracy: float
    split: str
    examples: int


@dataclasses.dataclass(frozen=True)
class ScoredClassifier:
    """A classifier and its score.

    Attributes:
      classifier: the classifier.
      score: its score.
    """

    classifier: FeatureClassifier
    score: ClassifierScore


def classifier_of(
    dataset: PreparedDataset, settings: ClassifierSettings | None = None
) -> ScoredClassifier | None:
    """The classifier of a dataset, from the cache or newly trained.

    Args:
      dataset: the dataset.
      settings: the settings of the training; None for the default.

    Returns:
      None if the train split has labels of fewer than two classes.

    Raises:
      WorkError: a shard is damaged.
    """
    settings = settings or ClassifierSettings()
    config = dataclasses.asdict(settings)
    key = fingerprint({"examples": dataset.artifact.fingerprint, "settings": config})
    plan = artifacts.ArtifactPlan(
        stage=_STAGE,
        directory=user_cache.directory("features") / key,
        config=config,
        inputs={"examples": dataset.artifact.as_input()},
    )
    try:
        if plan.is_up_to_date(overwrite=False):
            return _load(load_artifact(plan.directory, stage=_STAGE), dataset, settings)
    except (ConfigError, WorkError, OSError) as error:
        console.warn(f"the classifier in the cache is not used: {error}")
    trained = _train(dataset, settings)
    if trained is not None:
        _keep(trained, plan)
    return trained


def _load(
    artifact: Artifact, dataset: PreparedDataset, settings: ClassifierSettings
) -> ScoredClassifier:
    """The classifier of an artifact.

    Raises:
      WorkError: a file of it is damaged.
    """
    data = artifact.verified(_WEIGHTS).read_bytes()
    try:
        classifier = FeatureClassifier.from_bytes(
            data, dataset.image_shape, classes=len(dataset.class_names), settings=settings
        )
    except ValueError as error:
        raise damaged(artifact.path, f"{_WEIGHTS}: {error}") from None
    return ScoredClassifier(classifier, artifact.counts(ClassifierScore))


def _keep(trained: ScoredClassifier, plan: artifacts.ArtifactPlan) -> None:
    """Publishes a classifier for the next evaluation."""
    try:
        with plan.publish(overwrite=True) as draft:
            (draft.path / _WEIGHTS).write_bytes(trained.classifier.to_bytes())
            draft.counts = dataclasses.asdict(trained.score)
    except (ConfigError, WorkError, OSError) as error:
        # Another evaluation may be writing the same one. Without a cache, every evaluation trains
        # one.
        console.warn(f"the classifier is not kept for the next evaluation: {error}")


def _train(dataset: PreparedDataset, settings: ClassifierSettings) -> ScoredClassifier | None:
    """Trains and scores a classifier; None without labels of two classes to train on."""
    fitted = _labeled(dataset, "train", settings.examples)
    split = dataset.splits[-1]
    heldout = _labeled(dataset, split, _SCORED_EXAMPLES) if split != "train" else fitted.part(0, 0)
    if not len(heldout):
        split, first = "train", len(fitted) - len(fitted) // 10
        fitted, heldout = fitted.part(0, first), fitted.part(first, len(fitted))
    if len(np.unique(fitted.labels)) < 2 or not len(heldout):
        return None
    console.say(f"evaluate: training a classifier on {console.counted(len(fitted), 'example')}")
    classifier = FeatureClassifier.train(
        fitted.images, fitted.labels, classes=len(dataset.class_names), settings=settings
    )
    is_right = classifier.predict(heldout.images) == heldout.labels
    return ScoredClassifier(
        classifier, ClassifierScore(float(is_right.mean()), split, len(heldout))
    )


def _labeled(dataset: PreparedDataset, split: str, count: int) -> ExampleBatch:
    """The labeled ones among the first examples of a split; none if there is no such split."""
    if split not in dataset.splits:
        return ExampleBatch(
            [], np.empty((0, *dataset.image_shape), np.uint8), np.empty(0, np.int64)
        )
    examples = dataset.head(split, count)
    is_label = np.array([name != UNLABELLED for name in dataset.class_names], bool)
    return examples.take(np.flatnonzero(is_label[examples.labels]))
