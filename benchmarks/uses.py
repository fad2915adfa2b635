"""Draws the three uses of a VAE in one picture: `python -m benchmarks.uses …`.

The test images are denoised, the sizes of the compressed test set are those that the command line
gives (`make bench-compress` measures them), and the samples are drawn from the prior.
"""

import functools
import sys
from collections.abc import Sequence

import matplotlib
import numpy as np
from etils import epath
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec

from benchmarks.sizes import Bar
from components.base import command_line, console, tensorflow_setup
from components.base.manifest import load_artifact
from components.figures.mosaic import mosaic
from components.figures.style import GRAY, PALE, STYLE, new_figure, save
from components.model.registry import MODEL_FILE

_OURS, _OTHER = "#0f5fa6", "#b9c3cc"
_NOISE = "gaussian:0.3"
_COLUMNS = 6  # of images, in both panels of images
_ROWS = 6  # of images, in both panels of images
_DRAWS = 64  # decoded for each denoised image


def denoised(model: epath.PathLike, examples: epath.PathLike) -> np.ndarray:
    """Noisy images and the same denoised, in turn, [rows, columns, height, width, channels]."""
    tensorflow_setup.load()
    from components.data.prepared_dataset import PreparedDataset
    from components.model import denoise, vae
    from components.model.corruption import corrupt_for_evaluation, parse_corruption

    dataset = PreparedDataset.open(examples)
    number = _ROWS // 2 * _COLUMNS
    chosen = np.linspace(0, dataset.num_examples("test") - 1, number).astype(int)
    clean = dataset.images("test")[chosen]
    noise = parse_corruption(_NOISE)
    assert noise is not None
    noisy = corrupt_for_evaluation(clean, noise)
    trained = vae.load(load_artifact(model, stage="train").verified(MODEL_FILE))
    keys = np.arange(number, dtype=np.uint64)
    mean = denoise.denoise(trained, noisy, keys, samples=_DRAWS).mean
    rows = np.stack([noisy / 255, mean]).reshape(2, _ROWS // 2, _COLUMNS, *clean.shape[1:])
    return rows.swapaxes(0, 1).reshape(_ROWS, _COLUMNS, *clean.shape[1:])


def samples(model: epath.PathLike) -> np.ndarray:
    """Samples from the prior, [rows, columns, height, width, channels]."""
    tensorflow_setup.load()
    from components.model import VAE

    drawn = VAE.load(model).sample(_ROWS * _COLUMNS, seed=0)
    return drawn.reshape(_ROWS, _COLUMNS, *drawn.shape[1:])


@matplotlib.rc_context(STYLE)
def draw(
    denoised: np.ndarray, sizes: Sequence[Bar], samples: np.ndarray, path: epath.PathLike
) -> None:
    """Draws the three panels to a PNG file.

    Args:
      denoised: rows of noisy images, each above the same images denoised.
      sizes: the bars, this project's first.
      samples: rows and columns of images.
      path: of the file.
    """
    figure = new_figure(9.6, 2.9)
    panels = figure.add_gridspec(
        1, 3, width_ratios=(1, 0.85, 1), wspace=0.12, left=0, right=1, bottom=0, top=1
    )
    _show(figure, panels, 0, denoised, "Denoising", "noisy images, and the same denoised")
    _show(figure, panels, 2, samples, "Generation", "new images, drawn from the prior")
    _bars(figure, panels, sizes)
    save(figure, "", "", path)


def _show(
    figure: Figure, panels: GridSpec, panel: int, images: np.ndarray, title: str, text: str
) -> None:
    axes = figure.add_subplot(panels[0, panel], xticks=[], yticks=[])
    axes.imshow(mosaic(images, gap=(1, 1)), interpolation="nearest", aspect="equal")
    axes.spines[:].set_visible(False)
    _title(axes, title, text)


def _bars(figure: Figure, panels: GridSpec, sizes: Sequence[Bar]) -> None:
    # The names stand above the bars, so that the panel is as wide as its bars.
    axes = figure.add_subplot(panels[0, 1], yticks=[])
    for row, size in enumerate(sizes):
        color = _OTHER if row else _OURS
        axes.barh(row, size.bits, height=0.42, color=color)
        axes.text(0, row - 0.28, size.name, fontsize=7.5, va="bottom")
        axes.text(size.bits, row, f" {size.bits:.2f}", fontsize=7.5, va="center", color=GRAY)
    axes.set_ylim(len(sizes) - 0.6, -0.75)
    axes.set_xlim(0, 1.12 * max(size.bits for size in sizes))
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="x", color=PALE, linewidth=0.5, alpha=0.6)
    axes.set_axisbelow(True)
    _title(axes, "Compression", "without loss: bits for each pixel of the test set")


def _title(axes: matplotlib.axes.Axes, title: str, text: str) -> None:
    axes.set_title(title, fontsize=11, weight="bold", pad=20)
    axes.annotate(
        text, (0, 1), (0, 7), xycoords="axes fraction", textcoords="offset points",
        fontsize=8, color=GRAY,
    )  # fmt: skip


def main() -> None:
    """Draws the picture of the models that the command line names."""
    parser = command_line.Parser(prog="python -m benchmarks.uses", description=__doc__)
    parser.add_argument("--examples", required=True, help="directory of the prepared dataset")
    parser.add_argument("--denoiser", required=True, help="model of the preset denoise")
    parser.add_argument("--generator", required=True, help="model that the samples come from")
    parser.add_argument(
        "--size", type=functools.partial(Bar.parse, option="--size"), metavar="NAME:BITS",
        action="append", required=True,
        help="bits per dimension of the compressed test set, this project's first; repeated",
    )  # fmt: skip
    parser.add_argument("--output", required=True, help="PNG file to write")
    options = parser.parse(sys.argv[1:])
    draw(
        denoised(options.denoiser, options.examples),
        options.size,
        samples(options.generator),
        options.output,
    )
    console.say(f"wrote {options.output}")


if __name__ == "__main__":
    command_line.run(main)
