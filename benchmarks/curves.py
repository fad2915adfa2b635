"""Draws held-out losses against training FLOPs: `python -m benchmarks.curves RUN/model …`.

The models must have been trained on the same dataset with the same likelihood: otherwise, their
losses describe different data.
"""

import dataclasses
import itertools
import sys
from collections.abc import Sequence
from typing import Any

import matplotlib
from etils import epath
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator

from benchmarks import command
from components.base import command_line, console, tensorflow_setup
from components.base.errors import ConfigError
from components.base.manifest import Artifact, load_artifact
from components.figures.style import GRAY, PALE, STYLE, new_figure, save
from components.model.registry import MODEL_FILE
from trainer.recording.epoch_metrics import EPOCH_METRICS_FILE, read_metrics

_COLORS = ("#0f5fa6", "#d1495b", "#2e8b57", "#8d5bb5", "#c77d0a", "#4a4a4a")


@dataclasses.dataclass(frozen=True)
class Curve:
    """The held-out loss of a run.

    Attributes:
      name: of the preset.
      flops: floating-point operations of the training until then, at each evaluation.
      losses: the held-out negative ELBO in nats per example, at each evaluation.
    """

    name: str
    flops: Sequence[float]
    losses: Sequence[float]


def read_curve(named_model: str) -> Curve:
    """The curve of a trained model.

    Args:
      named_model: the directory of the model, or `NAME=DIRECTORY`; the name is otherwise that of
        the preset.

    Raises:
      ConfigError: the directory is not a trained model, or it was never evaluated while it trained.
      WorkError: a file is damaged.
    """
    name, _, model = named_model.rpartition("=")
    trained = load_artifact(model, stage="train")
    epochs = read_metrics(trained.verified(EPOCH_METRICS_FILE))
    evaluated = [(each.step, each.heldout["loss"]) for each in epochs if each.heldout is not None]
    if not evaluated:
        raise ConfigError(
            f"{model} has no held-out losses; train on a dataset with a validation split"
        )
    flops = _training_flops_by_step(trained)
    steps, losses = zip(*evaluated, strict=True)
    return Curve(name or trained.setting("preset", str), [step * flops for step in steps], losses)


def _training_flops_by_step(trained: Artifact) -> float:
    """The floating-point operations of a training step."""
    tensorflow_setup.load()
    from components.model import costs, vae
    from trainer.choices import OBJECTIVES

    model = vae.load(trained.verified(MODEL_FILE))
    objective = OBJECTIVES[trained.setting("objective", str)](
        trained.setting("objective_samples", int)
    )
    found = costs.count(model.architecture, objective)
    return found.training_flops * trained.setting("batch_size", int)


@dataclasses.dataclass(frozen=True)
class Point:
    """A published figure, in nats per example, after some training FLOPs."""

    name: str
    flops: float
    nats: float

    @staticmethod
    def parse(text: str) -> "Point":
        """Parses `NAME:FLOPS:NATS`."""
        name, numbers = command.named_numbers(text, option="--point", form="NAME:FLOPS:NATS")
        return Point(name, *numbers)


@matplotlib.rc_context(STYLE)
def draw(curves: Sequence[Curve], points: Sequence[Point], path: epath.PathLike) -> None:
    """Draws the curves and the points, with FLOPs on a logarithmic axis, to a PNG file."""
    figure = new_figure(6.4, 3.6)
    axes = figure.subplots(gridspec_kw={"left": 0, "right": 1, "bottom": 0, "top": 1})
    for curve, color in zip(curves, itertools.cycle(_COLORS)):
        axes.plot(curve.flops, curve.losses, color=color, marker="o", markersize=3)
        _label(axes, curve.name, curve.flops[-1], curve.losses[-1], color)
    for point in points:
        axes.plot(point.flops, point.nats, color=GRAY, marker="D", markersize=4, linestyle="")
        _label(axes, point.name, point.flops, point.nats, GRAY)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda flops, _: f"{flops:.0e}".replace("e+", "e"))
    axes.set_xlabel("training FLOPs")
    axes.set_ylabel("nats per example")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=PALE, linewidth=0.5, alpha=0.6)
    # Cut off the first evaluations, which are far above the rest.
    last = [curve.losses[-1] for curve in curves] + [point.nats for point in points]
    spread = max(max(last) - min(last), 1.0)
    axes.set_ylim(min(last) - 0.3 * spread, max(last) + 1.5 * spread)
    subtitle = "Curves: held-out negative ELBO while training."
    if points:
        subtitle += " Diamonds: negative log-likelihood of the test set."
    save(figure, "Loss against training FLOPs", subtitle, path)


def _label(axes: Axes, text: str, x: float, y: float, color: str) -> None:
    offset: dict[str, Any] = {"xytext": (5, 0), "textcoords": "offset points", "va": "center"}
    axes.annotate(text, (x, y), color=color, fontsize=7.5, annotation_clip=False, **offset)


def main() -> None:
    """Draws the curves of the models that the command line names."""
    parser = command_line.Parser(prog="python -m benchmarks.curves", description=__doc__)
    parser.add_argument(
        "models", nargs="+", metavar="RUN/model", help="directory of a trained model"
    )
    parser.add_argument("--output", required=True, help="PNG file to write")
    parser.add_argument(
        "--point", type=Point.parse, action="append", default=[], metavar="NAME:FLOPS:NATS",
        help="a figure from elsewhere, drawn as a diamond; may be repeated",
    )  # fmt: skip
    options = parser.parse(sys.argv[1:])
    draw([read_curve(model) for model in options.models], options.point, options.output)
    console.say(f"wrote {options.output}")


if __name__ == "__main__":
    command_line.run(main)
