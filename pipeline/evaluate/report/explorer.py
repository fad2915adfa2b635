"""The interactive plot of a report: its points, their images, and a decoder that a page can run."""

import base64
import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from components.data.examples import ExampleBatch
from components.figures.page_pictures import Sprite, sprite
from components.figures.scatter import hex_colors, robust_limits
from components.metrics.subsets import evenly_by_class
from pipeline.evaluate.report.subject import DecodedPlane, ReportSubject, shown

if TYPE_CHECKING:
    from components.model.vae import VAE

# The largest numbers of points, tried in turn until their images fit.
_POINTS = (4000, 2000, 1000, 500, 250)
_MAX_SPRITE_BYTES = 3 << 20
# The longest side of an image under the pointer, and of one that the page interpolates.
_POINT_SIDE, _GRID_SIDE = 32, 64
# Weights of a decoder that the page computes: 2 bytes each, and a third more as text.
_MAX_WEIGHTS = 1_500_000


@dataclasses.dataclass(frozen=True)
class Explorer:
    """The interactive plot.

    Attributes:
      data: the input of the page's scripts, as a JSON value.
      shown: number of points.
      total: number of examples that they are chosen from.
      is_exact: whether the page computes the decoder, rather than interpolate between images.
    """

    data: dict[str, Any]
    shown: int
    total: int
    is_exact: bool


def explorer(subject: ReportSubject) -> Explorer:
    """The interactive plot of the embeddings of a report's examples."""
    space, examples, order = subject.space, subject.examples, subject.order
    points = space.plane.project(subject.means)
    usable = np.flatnonzero(np.isfinite(points).all(axis=1))
    rows, pictures = _chosen(examples, usable)
    decoder = _dense_decoder(subject.vae, space)
    horizontal, vertical = space.steps
    # Classes are numbered in the order in which they are shown.
    classes = np.argsort(order)[examples.labels[rows]]
    data = {
        "x": _rounded(points[rows, 0]),
        "y": _rounded(points[rows, 1]),
        "ids": [shown(examples.ids[row]) for row in rows],
        "classes": classes.tolist(),
        "names": [subject.class_names[label] for label in order],
        "counts": np.bincount(classes, minlength=len(order)).tolist(),
        "colors": hex_colors(len(order)),
        "sprite": dataclasses.asdict(pictures),
        "decoder": decoder or {"kind": "grid"},
        "frame": {"x": robust_limits(points[rows, 0]), "y": robust_limits(points[rows, 1])},
        "steps": {"x": horizontal, "y": vertical},
        "image": list(subject.vae.image_shape),
    }
    if decoder is None:
        data["grid"] = _grid(space.images)
    return Explorer(data, len(rows), len(points), decoder is not None)


def _chosen(examples: ExampleBatch, usable: np.ndarray) -> tuple[np.ndarray, Sprite]:
    """The examples that become points, and their images, with as many points as fit."""
    for limit in _POINTS:
        rows = usable[evenly_by_class(examples.labels[usable], limit)]
        pictures = sprite(examples.images[rows], side=_POINT_SIDE, max_bytes=_MAX_SPRITE_BYTES)
        if pictures is not None:
            return rows, pictures
    raise AssertionError("images of 32 pixels a side fit")


def _grid(images: np.ndarray) -> dict[str, Any]:
    """The sprite that the page interpolates in; its rows are those of the plane, from below."""
    side = len(images)
    flat = images.reshape(-1, *images.shape[2:])
    picture = sprite(flat, side=_GRID_SIDE, max_bytes=_MAX_SPRITE_BYTES)
    assert picture is not None, "400 images of 64 pixels a side fit"
    return {"sprite": dataclasses.asdict(picture), "side": side}


def _dense_decoder(vae: "VAE", space: DecodedPlane) -> dict[str, Any] | None:
    """The decoder as layers over coordinates in the plane, if the page can compute it.

    It can if the decoder is a small multilayer perceptron whose outputs are the logits of pixels.
    """
    import keras

    architecture = vae.architecture
    is_dense = architecture.network == "mlp" and architecture.levels == 1
    if not (
        is_dense
        and isinstance(vae.decoder, keras.Sequential)
        and not vae.head.is_sequential
        and architecture.likelihood in ("bernoulli", "binarized")
        and vae.decoder.count_params() <= _MAX_WEIGHTS
    ):
        return None
    weights = [weight.astype(np.float64) for weight in vae.decoder.get_weights()]
    kernels, biases = weights[::2], weights[1::2]
    # z = center + point @ axes, and the one-hot label, are linear in the point: so is the first
    # layer's input, and a page needs two inputs whatever the number of latents.
    of_latents = kernels[0][: architecture.latents]
    biases[0] = biases[0] + space.plane.center @ of_latents
    if architecture.classes:
        biases[0] = biases[0] + kernels[0][architecture.latents + space.label]
    kernels[0] = space.plane.axes @ of_latents
    layers = [
        {
            "inputs": kernel.shape[0],
            "outputs": kernel.shape[1],
            # Of the first layer, which multiplies coordinates of any size, all digits count.
            "kernel": _text(kernel, np.float32 if index == 0 else np.float16),
            "bias": _text(bias, np.float32),
            "activation": architecture.activation if index < len(kernels) - 1 else "sigmoid",
        }
        for index, (kernel, bias) in enumerate(zip(kernels, biases, strict=True))
    ]
    return {"kind": "dense", "layers": layers}


def _text(values: np.ndarray, kind: Any) -> str:
    """Numbers as little-endian bytes in base64."""
    limit = np.finfo(kind).max
    bounded = np.clip(np.nan_to_num(values), -limit, limit).astype(kind)
    return base64.b64encode(bounded.astype(bounded.dtype.newbyteorder("<")).tobytes()).decode()


def _rounded(values: np.ndarray) -> list[float]:
    """Numbers with five significant digits, which are short as JSON."""
    return [float(f"{value:.5g}") for value in values.tolist()]
