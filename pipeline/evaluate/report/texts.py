"""Sentences, charts and tables of a report that need no model."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from components.base import console, files
from components.base.manifest import MANIFEST, package_versions
from components.base.shapes import format_shape
from components.figures.line_chart import LineChart, line_chart
from components.model.registry import MODEL_FILE
from pipeline.evaluate.report.explorer import Explorer
from pipeline.evaluate.report.subject import ReportSubject
from trainer.recording.epoch_metrics import EpochMetrics
from trainer.train_counts import TrainCounts

_MIN_BARS, _MAX_BARS = 3, 256  # Latent dimensions whose rates are drawn.
_SMALLEST_RATE = 1e-9  # Nats: below it, all bars are empty.


def facts(subject: ReportSubject, counts: TrainCounts) -> list[str]:
    """The model, its data and its date, as parts of a sentence."""
    # A manifest holds no time, so that equal runs have equal manifests; its file does.
    modified = files.stat(subject.trained.path / MANIFEST).modified
    when = datetime.fromtimestamp(modified, UTC)
    architecture, scores = subject.vae.architecture, subject.scores
    return [
        f"{architecture.network} network, {subject.vae.latents:,} latents, "
        f"{counts.parameters:,} parameters",
        f"{format_shape(subject.vae.image_shape)} images, {architecture.likelihood} likelihood",
        f"trained on {when.day} {when:%B %Y}",
        f"measured on {console.counted(scores.examples, f'{scores.split} example')}",
    ]


def training(subject: ReportSubject, counts: TrainCounts) -> str:
    """The duration and the devices of the training, and the epoch of the model."""
    kinds = Counter(counts.devices).items()
    devices = ", ".join(f"{count} x {console.visible(kind)}" for kind, count in kinds)
    epochs = console.counted(len(subject.epochs), "epoch")
    kept = counts.kept.epoch
    which = "" if kept == len(subject.epochs) else f" The model is that of epoch {kept}."
    return (
        f"{epochs} of {counts.steps:,} steps in all, {counts.precision} on {devices}, in "
        f"{_duration(subject.trained.manifest.wall_seconds)}.{which}"
    )


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def charts(epochs: Sequence[EpochMetrics]) -> list[LineChart]:
    """The losses over the epochs, in nats per example."""
    has_heldout = any(epoch.heldout for epoch in epochs)
    drawn = []
    for name in ("loss", "distortion", "rate"):
        curves: dict[str, list[float | None]] = {
            "training": [epoch.train[name] for epoch in epochs]
        }
        if has_heldout:
            curves["held out"] = [
                epoch.heldout[name] if epoch.heldout else None for epoch in epochs
            ]
        drawn.append(line_chart(name.capitalize(), [each.epoch for each in epochs], curves))
    return drawn


def legend(plot: Explorer) -> list[dict[str, Any]]:
    """The classes that have points."""
    columns = zip(plot.data["names"], plot.data["counts"], plot.data["colors"], strict=True)
    return [
        {"index": index, "name": name, "count": f"{count:,}", "color": color}
        for index, (name, count, color) in enumerate(columns)
        if count
    ]


def chosen(plot: Explorer) -> str:
    """The choice of the points, as the end of a clause; empty if all examples are shown."""
    if plot.shown == plot.total:
        return ""
    return (
        f"; {plot.shown:,} of {plot.total:,} are shown, chosen evenly by class, to keep the page "
        "small"
    )


def decoding(subject: ReportSubject, plot: Explorer) -> str:
    """A sentence on the image at the handle."""
    if plot.is_exact:
        return f"The page computes the decoder itself{given(subject)}, at any point of the plane."
    return (
        "The decoder is too large for a page: the image at the handle is interpolated between the "
        f"four nearest ones of the grid below{given(subject)}, and stays at its edge outside of it."
    )


def given(subject: ReportSubject) -> str:
    """The class that a conditional model decodes, as a part of a sentence."""
    if not subject.vae.architecture.classes:
        return ""
    return f", given {subject.class_names[subject.space.label]}"


def bars(rates: Sequence[float] | None) -> dict[str, Any] | None:
    """The rates of the latent dimensions as bars, the largest first; None if they are few."""
    if rates is None or len(rates) < _MIN_BARS or not np.isfinite(rates).all():
        return None
    ordered = np.sort(rates)[::-1]
    largest = max(float(ordered[0]), _SMALLEST_RATE)
    few = f", the {_MAX_BARS} largest of {len(ordered):,}" if len(ordered) > _MAX_BARS else ""
    return {
        "heights": [f"{100 * max(0.0, rate) / largest:.1f}" for rate in ordered[:_MAX_BARS]],
        "caption": (
            f"In nats, largest first{few}: from {ordered[0]:z.2f} down to {ordered[-1]:z.2f}. A "
            "dimension near 0 says nothing about an image. If most are, the model has more "
            "latents than it needs, or its posterior has collapsed."
        ),
    }


def configs(subject: ReportSubject) -> list[tuple[str, list[tuple[str, str]]]]:
    """All settings and versions, in groups with titles."""
    groups = (
        ("Settings of the data", subject.dataset.artifact.manifest.config),
        ("Settings of the training", subject.trained.manifest.config),
        ("Settings of the evaluation", dataclasses.asdict(subject.config)),
        ("Versions in training", subject.trained.manifest.versions),
        ("Versions in evaluation", package_versions()),
    )
    return [
        (title, [(console.visible(name), _shown(value)) for name, value in config.items()])
        for title, config in groups
    ]


def _shown(value: Any) -> str:
    """A setting as text."""
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value)) or "not set"
    return "not set" if value in (None, "") else console.visible(str(value))


def digests(subject: ReportSubject) -> list[tuple[str, str]]:
    """The fingerprints of the inputs of the evaluation."""
    return [
        ("examples", subject.dataset.artifact.fingerprint),
        ("model with its settings", subject.trained.fingerprint),
        (MODEL_FILE, subject.trained.output(MODEL_FILE).sha256),
    ]
