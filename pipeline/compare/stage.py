"""The compare stage: several runs on one page and in a table."""

import json
from collections.abc import Sequence

from etils import epath

from components.base import artifacts, console
from components.base.manifest import Artifact, load_artifact
from pipeline.compare import differences, page, table
from pipeline.compare.runs import ComparedRun, load

PAGE, TABLE, JSON = "comparison.html", "comparison.txt", "comparison.json"


def compare(
    runs: Sequence[str],
    *,
    output: epath.PathLike,
    overwrite: bool = False,
    verify: bool = False,
) -> Artifact:
    """Compares runs with the first of them, unless the comparison is up to date; shows the table.

    Args:
      runs: directories of runs, each with `model/` and `evaluation/`; at least two.
      output: directory to publish the comparison in.
      overwrite: whether to replace another or a damaged artifact in `output`.
      verify: whether to read all files of an artifact that is up to date, to check their content.

    Raises:
      ConfigError: a directory is not a run with a model and its evaluation, or `output` holds
        something else.
      WorkError: a file of a run is damaged.
    """
    loaded = load(runs)
    inputs = {}
    for run in loaded:
        inputs[f"model of {run.name}"] = run.model.as_input()
        inputs[f"evaluation of {run.name}"] = run.evaluation.as_input()
    plan = artifacts.ArtifactPlan(
        stage="compare",
        directory=epath.Path(output),
        config={"runs": [run.name for run in loaded]},
        inputs=inputs,
    )
    if plan.is_up_to_date(overwrite=overwrite, verify=verify):
        console.say(f"compare: up to date ({output})")
    else:
        with plan.publish(overwrite=overwrite) as draft:
            comparison = _write(loaded, draft.path)
            draft.counts = comparison.as_json()
            draft.notes = comparison.notes
        console.say(f"compare: page in {epath.Path(output, PAGE)}")
    artifact = load_artifact(output, stage="compare")
    console.show(artifact.verified(TABLE).read_text().rstrip("\n"))
    return artifact


def _write(runs: Sequence[ComparedRun], directory: epath.Path) -> differences.Comparison:
    """Writes all files of a comparison."""
    from components.figures.compared_curves import compared_curves

    comparison = differences.compare(runs)
    (directory / JSON).write_text(json.dumps(comparison.as_json(), indent=2) + "\n")
    (directory / TABLE).write_text(table.render(comparison) + "\n")
    curves = directory / "curves.png"
    is_heldout = all(any(epoch.heldout for epoch in run.epochs) for run in runs)
    kind = "Losses of held-out images" if is_heldout else "Losses of training images"
    compared_curves(
        [_curve(run, is_heldout=is_heldout) for run in runs],
        title="Learning curves",
        subtitle=f"{kind}; with a beta of 1, the loss is the negative ELBO",
        path=curves,
    )
    caption = f"{kind} after each epoch."
    html = page.render(comparison, runs, curves=curves, curves_caption=caption)
    (directory / PAGE).write_text(html)
    return comparison


def _curve(run: ComparedRun, *, is_heldout: bool) -> tuple[str, list[int], dict[str, list[float]]]:
    """The name of a run, its epochs with losses, and the losses by name."""
    rows = [
        (row.epoch, losses)
        for row in run.epochs
        if (losses := row.heldout if is_heldout else row.train) is not None
    ]
    names = ("loss", "distortion", "rate")
    return (
        run.name,
        [epoch for epoch, _ in rows],
        {name: [losses[name] for _, losses in rows] for name in names},
    )
