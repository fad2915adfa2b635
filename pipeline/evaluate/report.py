"""The report of an evaluation: one HTML page with the scores and the figures.

It needs no server: the figures are files next to it.
"""

import html
import math
from collections import Counter
from collections.abc import Sequence

from components.base.manifest import Artifact
from components.metrics.mean import Mean
from pipeline.evaluate.metrics import METRICS
from pipeline.evaluate.scores import Scores
from trainer.train_counts import TrainCounts

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 62rem; margin: 2rem auto;
       padding: 0 1rem }}
h1 {{ font-size: 1.6rem; margin-bottom: 0 }}
h2 {{ font-size: 1.1rem; margin-top: 2.5rem }}
p.note {{ background: #fff4d6; padding: .5rem 1rem; border-left: 4px solid #ffa90e }}
table {{ border-collapse: collapse; margin: 1rem 0 }}
th, td {{ text-align: left; padding: .25rem 1.5rem .25rem 0; border-bottom: 1px solid #ddd }}
td.number {{ text-align: right; font-variant-numeric: tabular-nums }}
img {{ max-width: 100%; height: auto }}
</style>
<h1>{title}</h1>
<p>{subtitle}</p>
{notes}
<table>
<tr><th>{split} set<th>mean<th>95 % interval<th>unit
{scores}
</table>
<p>{protocol}</p>
{figures}
<h2>Configuration</h2>
<table>
{config}
</table>
"""

_FIGURES = {
    "encodings": "Encodings",
    "latent_grid": "Decoded latent space",
    "samples": "Samples",
    "reconstructions": "Reconstructions",
    "learning_curves": "Learning curves",
}


def render(scores: Scores, model: Artifact, notes: Sequence[str]) -> str:
    """Renders the page as HTML.

    Args:
      scores: the scores of the model.
      model: the artifact of the train stage.
      notes: warnings to show above the scores.
    """
    counts = model.counts(TrainCounts)
    kinds = Counter(counts.devices).items()
    devices = ", ".join(f"{count} x {kind}" for kind, count in kinds)
    return _PAGE.format(
        title=html.escape(f"{scores.dataset} · {scores.preset}"),
        subtitle=html.escape(
            f"{counts.parameters:,} parameters, {counts.steps:,} steps, "
            f"{counts.precision} on {devices}; "
            f"{scores.examples:,} {scores.split} examples"
        ),
        notes="".join(f'<p class="note">{html.escape(note)}</p>' for note in notes),
        split=html.escape(scores.split),
        scores="\n".join(_score_row(name, mean) for name, mean in scores.means.items()),
        protocol=html.escape(scores.how_measured()),
        figures="\n".join(
            f'<p><img src="figures/{name}.png" alt="{text}"></p>' for name, text in _FIGURES.items()
        ),
        config="\n".join(
            f"<tr><td>{html.escape(name)}<td>{html.escape(str(value))}"
            for name, value in model.manifest.config.items()
        ),
    )


def _score_row(name: str, score: Mean) -> str:
    mean, half_width = score.value, score.half_width
    metric = METRICS[name]
    digits = metric.digits
    interval = f"{mean - half_width:z.{digits}f} to {mean + half_width:z.{digits}f}"
    if math.isinf(half_width):
        interval = "none"  # Of a count, or of a single example.
    return (
        f'<tr><td>{metric.title}<td class="number">{mean:z.{digits}f}<td class="number">{interval}'
        f"<td>{metric.unit}"
    )
