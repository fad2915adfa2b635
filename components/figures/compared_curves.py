"""The figure that overlays the losses of several runs."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from etils import epath
from matplotlib.ticker import MaxNLocator

from components.figures.style import PALE, STYLE, new_figure, save

_PANELS = ("loss", "distortion", "rate")
_COLORS = ("#0f5fa6", "#d95f02", "#1b9e77", "#7a5195", "#a6761d", "#e7298a", "#5a6570", "#000000")
_DASHES = ("-", "--", ":")


@matplotlib.rc_context(STYLE)
def compared_curves(
    runs: Sequence[tuple[str, Sequence[int], Mapping[str, Sequence[float]]]],
    *,
    title: str,
    subtitle: str,
    path: epath.PathLike,
) -> None:
    """Draws the loss, the distortion and the rate of several runs by epoch, in nats per example.

    Args:
      runs: for each run, its name, the numbers of its epochs, and "loss", "distortion" and "rate",
        with one value per epoch.
      title: title of the figure.
      subtitle: text below the title.
      path: PNG file to write.

    Raises:
      ValueError: a curve does not have one value per epoch.
    """
    figure = new_figure(9.6, 2.6)
    frame = {"left": 0, "right": 1, "bottom": 0, "top": 1, "wspace": 0.3}
    panels = figure.subplots(1, len(_PANELS), gridspec_kw=frame)
    for axes, name in zip(panels, _PANELS, strict=True):
        axes.set_title(name.capitalize())
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color=PALE, linewidth=0.5, alpha=0.6)
        for number, (label, epochs, losses) in enumerate(runs):
            curve = [(x, y) for x, y in zip(epochs, losses[name], strict=True) if np.isfinite(y)]
            turn, color = divmod(number, len(_COLORS))
            axes.plot(
                *np.reshape(curve, (-1, 2)).T,
                color=_COLORS[color],
                linestyle=_DASHES[turn % len(_DASHES)],
                # Markers show single points; on long curves they would merge into a thick line.
                marker="o" if len(curve) <= 20 else None,
                markersize=3,
                # A leading underscore would hide the name.
                label=f"\u200b{label}" if label.startswith("_") else label,
            )
    panels[0].set_ylabel("nats per example")
    panels[0].legend(handles=panels[0].get_lines(), loc="best")
    save(figure, title, subtitle, path)
