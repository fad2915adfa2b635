"""The model card: an exported model, its training data, and its limits."""

import json
from collections.abc import Iterable

from components.base import console
from components.base.manifest import Artifact
from components.base.shapes import format_shape
from components.data.prepared_dataset import PreparedDataset
from components.model.architecture import Architecture
from components.model.registry import HEADS, LIKELIHOODS, MODEL_FILE
from trainer.recording.epoch_metrics import EpochMetrics
from trainer.train_counts import TrainCounts

_MAX_NAMES = 100


def render(trained: Artifact, architecture: Architecture, dataset: PreparedDataset | None) -> str:
    """The model card as Markdown.

    Args:
      trained: the artifact of the train stage.
      architecture: the settings of the model.
      dataset: the prepared dataset that it was trained on; None if it is no longer there.
    """
    counts = trained.counts(TrainCounts)
    preset = _code(trained.setting("preset", str))
    name = _code(dataset.name) if dataset else "a dataset that was not there at the export"
    sections = {
        "Inputs and outputs": _signatures(architecture),
        "Data": _data(trained, dataset),
        "Training": [
            f"preset {preset}, {counts.parameters:,} parameters, {counts.steps:,} steps in "
            f"{counts.precision}; the export computes in float32",
            f"all settings: {_code(json.dumps(trained.manifest.config, sort_keys=True))}",
            *(f"note: {_code(note)}" for note in trained.manifest.notes),
        ],
        "Metrics": _metrics(counts.kept),
        "Limits": _limits(architecture),
        "Digests": [
            f"{_code(MODEL_FILE)}: SHA-256 {trained.output(MODEL_FILE).sha256}",
            f"artifact of the train stage: {trained.fingerprint}",
            f"trained with {_versions(trained)}",
        ],
    }
    title = f"# A variational autoencoder, preset {preset}, trained on {name}\n"
    parts = [f"## {head}\n\n{_listed(lines)}" for head, lines in sections.items()]
    return "\n".join([title, *parts])


def _signatures(architecture: Architecture) -> list[str]:
    shape = format_shape(architecture.image_shape)
    labels = ""
    if architecture.classes:
        labels = f", and `labels` from 0 to {architecture.classes - 1}, int64 [batch]"
    latents = "[batch, latents]"
    if architecture.levels > 1:
        latents += f" of all {architecture.levels} levels, the top level first"
    return [
        f"images are uint8 of {shape} (height x width x channels), in batches of any size",
        f"`encode`: `images` to `mean`, which is the embedding, and `log_variance`, {latents}",
        "`encode_bytes`: PNG or JPEG files of any size in `image_bytes`, to what `encode` gives",
        f"`decode`: `latents`, float32 {latents}{labels}, to `images` in [0, 1]: the mean of the "
        "likelihood",
        f"`reconstruct`: `images`{labels}, to `images` in [0, 1]: `decode` of the embedding",
        f"`sample`: `count` and `seed`, int32{labels}, to `latents` drawn from the prior and the "
        "decoded `images`",
        f"`score`: `images`{labels}, to `elbo`, `rate` and `distortion` in nats, [batch]",
    ]


def _data(trained: Artifact, dataset: PreparedDataset | None) -> list[str]:
    record = trained.manifest.inputs.get("examples")
    lines = [f"prepared dataset with the fingerprint {record.fingerprint}"] if record else []
    if dataset is not None:
        splits = ", ".join(f"{dataset.num_examples(each):,} in {each}" for each in dataset.splits)
        lines.append(f"{_code(dataset.name)}: {splits}")
        names = [_code(each) for each in dataset.class_names]
        more = f" and {len(names) - _MAX_NAMES:,} more" if len(names) > _MAX_NAMES else ""
        if names:
            lines.append(f"classes, from label 0 on: {', '.join(names[:_MAX_NAMES])}{more}")
    return lines


def _metrics(kept: EpochMetrics) -> list[str]:
    """The metrics of the epoch whose weights the model has."""
    sets = {"training examples, measured during the epoch": kept.train}
    if kept.heldout is not None:
        sets["validation examples, at the end of the epoch"] = kept.heldout
    return [f"of epoch {kept.epoch}, in nats per example"] + [
        f"{name}: {', '.join(f'{key} {value:.4f}' for key, value in sorted(losses.items()))}"
        for name, losses in sets.items()
    ]


def _limits(architecture: Architecture) -> list[str]:
    family, head = LIKELIHOODS[architecture.likelihood], HEADS[architecture.head]
    lines = [
        "the model is meant for images like its training images; for others, embeddings, "
        "reconstructions and scores mean little, and `score` does not always reveal that an image "
        "is of another kind",
        "`score` has one draw of z, with the same noise for every image: use it to compare images; "
        "to measure a model, use `python -m pipeline evaluate`",
    ]
    if family.binarizes:
        lines.append(
            "`score` is of pixels of 0 or 1: a pixel is 1 where it is above a threshold, the same "
            "for every image"
        )
    elif family.levels is None:
        lines.append(
            f"`score` with the likelihood {architecture.likelihood} is not a log-probability of an "
            "image of 256 levels; compare it only with models of the same likelihood"
        )
    if architecture.classes:
        lines.append("`score` is a bound on log p(x|y), given the label")
    if head.is_sequential:
        lines.append(
            f"the {architecture.head} head decodes the pixels of an image in turn, so `decode`, "
            "`reconstruct` and `sample` take long; their images are an average over four draws"
        )
    return lines


def _versions(trained: Artifact) -> str:
    versions = sorted(trained.manifest.versions.items())
    return console.visible(", ".join(f"{name} {version}" for name, version in versions))


def _listed(lines: Iterable[str]) -> str:
    return "".join(f"- {line}\n" for line in lines)


def _code(text: str) -> str:
    """A text that may come from a stranger, as code in Markdown, on one line."""
    return f"`{console.visible(text).replace('`', chr(39))}`"
