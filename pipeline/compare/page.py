"""A comparison as one HTML page that works when it is mailed: its pictures are embedded."""

import base64
import dataclasses
from collections.abc import Sequence

from etils import epath

from pipeline.compare import table
from pipeline.compare.differences import Comparison
from pipeline.compare.runs import ComparedRun
from pipeline.evaluate import web_page
from pipeline.evaluate.metrics import METRICS

# The figures of an evaluation that are shown side by side: their titles and captions.
_PICTURES = {
    "samples": ("Samples", "Images decoded from draws from the prior."),
    "reconstructions": (
        "Reconstructions",
        "Images of each class above their reconstructions from their embeddings.",
    ),
}


@dataclasses.dataclass(frozen=True)
class PictureSection:
    """A figure of all runs.

    Attributes:
      title: its heading.
      caption: a description of the picture.
      pictures: the name of each run that has it, and the picture as a data URI.
    """

    title: str
    caption: str
    pictures: Sequence[tuple[str, str]]


def render(
    comparison: Comparison,
    runs: Sequence[ComparedRun],
    *,
    curves: epath.Path,
    curves_caption: str,
) -> str:
    """Renders the page as HTML.

    Args:
      comparison: the differences of the runs.
      runs: the runs, for their pictures.
      curves: PNG file of the losses.
      curves_caption: a description of the curves.

    Raises:
      WorkError: a picture is damaged.
    """
    metrics = []
    for metric in comparison.metrics:
        described = METRICS[metric.name]
        cells = [
            (
                "–" if mean is None else _minus(table.interval(mean, described.digits)),
                "" if difference is None else _minus(table.change(difference, described.digits)),
            )
            for mean, difference in zip(metric.means, metric.differences, strict=True)
        ]
        metrics.append({"title": described.title, "unit": described.unit, "cells": cells})
    return web_page.render(
        "comparison.html",
        folder="pipeline.compare.templates",
        styles=["comparison.css"],
        title=" · ".join(comparison.names),
        names=comparison.names,
        notes=comparison.notes,
        explanation=table.EXPLANATION,
        metrics=metrics,
        tables=[("Runs", comparison.facts)]
        + ([("Settings that differ", comparison.settings)] if comparison.settings else []),
        curves=_data_uri(curves),
        curves_caption=curves_caption,
        pictures=[section for name in _PICTURES if (section := _section(name, runs)).pictures],
    )


def _section(name: str, runs: Sequence[ComparedRun]) -> PictureSection:
    file = f"figures/{name}.png"
    pictures = [
        (run.name, _data_uri(run.evaluation.verified(file)))
        for run in runs
        if file in run.evaluation.manifest.outputs
    ]
    return PictureSection(*_PICTURES[name], pictures)


def _minus(text: str) -> str:
    """The text of a number with a typographic minus sign, which a terminal may lack."""
    return text.replace("-", "−")


def _data_uri(path: epath.Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
