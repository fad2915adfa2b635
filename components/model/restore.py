"""Building the model of a `.keras` file.

The file may come from someone else. Its weights are compared with the model that its config
describes before either takes memory: a config of a few bytes can describe a model of terabytes,
and an HDF5 file can claim as much, or refer to other files.
"""

import io
import math
import os
from collections.abc import Callable
from typing import Any

import h5py
import keras
import numpy as np
import tensorflow as tf
from etils import epath

from components.base import local_files
from components.base.errors import WorkError
from components.model import model_file

# The exceptions of constructors for invalid arguments, and of h5py for damaged files.
_MISTAKES = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, tf.errors.OpError)
_DAMAGE = (ValueError, TypeError, LookupError, RuntimeError, OSError)

# Shapes and types of a model's weights, sorted.
_Weights = list[tuple[tuple[int, ...], str]]


def restore(
    path: str | os.PathLike[str], build: Callable[[dict[str, Any]], keras.Model]
) -> keras.Model:
    """The model of a `.keras` file, with its weights.

    Args:
      path: the file.
      build: builds the model of a config, with new weights.

    Raises:
      WorkError: the file is damaged, is not a VAE of this project, or its weights are not those of
        its config or not finite.
    """
    path = epath.Path(path)
    saved = model_file.read(path)
    try:
        # The weights of a graph have shapes but no values.
        with tf.Graph().as_default():
            expected = sorted((tuple(w.shape), w.dtype) for w in build(saved.config).weights)
    except _MISTAKES as error:
        reason = "its config does not describe a model of this version"
        raise model_file.invalid(path, reason) from error
    try:
        found = _stored_weights(saved.weights)
    except _DAMAGE as error:
        raise model_file.invalid(path, "its weights are damaged") from error
    if found != expected:
        raise model_file.invalid(path, "its weights are not those of its config")
    model = build(saved.config)
    try:
        with local_files.local_copy(path) as local:
            model.load_weights(os.fspath(local))
    except ValueError as error:
        raise model_file.invalid(path, "its weights are not those of its config") from error
    # Every result would be NaN, and NaN images look black.
    if not all(np.isfinite(weight).all() for weight in model.get_weights()):
        raise WorkError(
            f"{path} has weights that are infinite or no numbers; restore the file, or train the "
            "model again"
        )
    return model


def _stored_weights(data: bytes) -> _Weights:
    """The weights in an HDF5 file, which are not read.

    Raises:
      ValueError: something in the file is not a plain array or a group of arrays, or the file is
        smaller than its arrays.
      OSError, RuntimeError, and others of h5py: the file is damaged.
    """
    weights: _Weights = []
    size = 0
    with h5py.File(io.BytesIO(data), "r") as file:
        links: list[tuple[str, Any]] = []
        file.visititems_links(lambda name, link: links.append((name, link)))
        for name, link in links:
            if not isinstance(link, h5py.HardLink):
                raise ValueError(f"{name} is a link to elsewhere")
            if (item := file[name]) and isinstance(item, h5py.Group):
                continue
            if not isinstance(item, h5py.Dataset) or not _is_plain(item):
                raise ValueError(f"{name} is not a plain array")
            weights.append((item.shape, str(item.dtype)))
            size += math.prod(item.shape) * item.dtype.itemsize
    if size > len(data):
        raise ValueError("the file is smaller than its arrays")
    return sorted(weights)


def _is_plain(array: h5py.Dataset) -> bool:
    """Whether the values of an array are in its file, uncompressed and in one piece."""
    return (
        array.chunks is None
        and not array.external
        and not array.is_virtual
        and array.id.get_storage_size() == math.prod(array.shape) * array.dtype.itemsize
    )
