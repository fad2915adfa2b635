"""Figures of a trained variational autoencoder, written as PNG files.

Images are arrays [rows, columns, height, width, channels] of one (gray) or three (RGB) channels,
either unsigned bytes or floats in [0, 1]. Each figure has a bold `title` above a smaller `subtitle`
and is written to `path`, local or remote; `axis_labels` are those of the horizontal and of the
vertical axis. The same input gives the same bytes.

Drawing needs no display: it uses matplotlib's objects, not pyplot and its global state.
"""

from components.figures.curves import learning_curves
from components.figures.grids import image_grid, latent_grid, mosaic, reconstructions
from components.figures.scatter import encodings

__all__ = [
    "encodings",
    "image_grid",
    "latent_grid",
    "learning_curves",
    "mosaic",
    "reconstructions",
]
