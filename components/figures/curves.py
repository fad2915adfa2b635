"""The figure of the learning curves."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from components.figures.style import PALE, STYLE, FigurePath, new_figure, save

TRAIN_COLOR, HELDOUT_COLOR = "#9aa5b1", "#0f5fa6"


@matplotlib.rc_context(STYLE)
def learning_curves(
    epochs: Sequence[int],
    *,
    train: Mapping[str, Sequence[float]],
    heldout: Mapping[str, Sequence[float | None]] | None,
    title: str,
    subtitle: str,
    path: FigurePath,
) -> None:
    """Draws the loss, the distortion and the rate by epoch, in nats per example.

    The last value of the held-out curve, or of the training curve if there is none, is written at
    the right of each panel.

    Args:
      epochs: the numbers of the epochs.
      train: "loss", "distortion" and "rate" on the training data, one value per epoch.
      heldout: the same on held-out data, where "loss" is the negative ELBO, with None for an epoch
        without evaluation; None without held-out data.
      title: title of the figure.
      subtitle: text below the title.
      path: the file to write, or several; see `style.save`.

    Raises:
      ValueError: a curve does not have one value per epoch.
    """
    splits: dict[str, tuple[Mapping[str, Sequence[float | None]], str]]
    splits = {"training loss": (train, TRAIN_COLOR)}
    if heldout is not None:
        splits["held-out negative ELBO"] = (heldout, HELDOUT_COLOR)
    figure = new_figure(9.6, 2.3)
    frame = {"left": 0, "right": 1, "bottom": 0, "top": 1, "wspace": 0.36}
    panels = figure.subplots(1, 3, gridspec_kw=frame)
    for axes, name in zip(panels, ("loss", "distortion", "rate"), strict=True):
        axes.set_title(name.capitalize())
        axes.set_xlabel("epoch")
        axes.set_xlim(min(epochs) - 0.5, max(epochs) + 0.5)
        axes.xaxis.set_major_locator(
            MaxNLocator(6, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10])
        )
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color=PALE, linewidth=0.5, alpha=0.6)
        for label, (values, color) in splits.items():
            _draw_curve(axes, list(zip(epochs, values[name], strict=True)), color, label)
        _draw_last_value(axes)
    panels[0].set_ylabel("nats per example")
    panels[0].legend(handles=panels[0].get_lines())
    save(figure, title, subtitle, path)


def _draw_curve(
    axes: Axes, curve: Sequence[tuple[int, float | None]], color: str, label: str
) -> None:
    """Draws a curve through the points whose value is known and finite."""
    known = [(x, y) for x, y in curve if y is not None and np.isfinite(y)]
    if known:
        # Markers show single points; on long curves they would merge into a thick line.
        marker = "o" if len(known) <= 20 else None
        axes.plot(*np.transpose(known), color=color, label=label, marker=marker, markersize=3)


def _draw_last_value(axes: Axes) -> None:
    """Writes the last value of the curve that was drawn last, at the right of the panel."""
    if axes.lines:
        y, color = np.asarray(axes.lines[-1].get_ydata())[-1], axes.lines[-1].get_color()
        # x in units of the panel's width, y in data units.
        transform = axes.get_yaxis_transform()
        axes.text(1.02, y, f"{y:.1f}", transform=transform, va="center", color=color, weight="bold")
