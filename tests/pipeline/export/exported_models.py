"""Small models of every part, and a process that has TensorFlow but not this project."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from components.model.vae import VAE
from pipeline.export.portable_file import PortableFormat
from pipeline.export.served_model import ServedModel
from tests.components.model.test_vae import MODELS, make

# One has parts that others have, too, and a large graph.
EXPORTED = {
    **{name: MODELS[name] for name in MODELS if name != "hierarchy"},
    "colors": {"network": "residual", "likelihood": "logistic_mixture", "image_shape": (5, 7, 3)},
    "three levels": {"network": "residual", "levels": 3, "activation": "silu"},
    # Its networks are within others, and so are the activation functions that are not Keras's.
    "linear path": {**MODELS["linear path"], "activation": "silu"},
    "conditional, at once": {"classes": 4, "likelihood": "gaussian"},
}
COUNT = 5
LABELS = np.array([3, 0, 1, 3, 2])


def made(name: str) -> VAE:
    """A model of `EXPORTED` in which no weight is zero, trained in bfloat16."""
    model = make(**EXPORTED[name], dtype="mixed_bfloat16")
    rng = np.random.default_rng(1)
    model.set_weights(
        [w + 0.1 * rng.standard_normal(w.shape, np.float32) for w in model.get_weights()]
    )
    return model.in_float32()


def labels_of(model: VAE) -> np.ndarray | None:
    """The labels of the five images of a conditional model."""
    return LABELS if model.architecture.classes else None


def images_of(model: VAE) -> np.ndarray:
    """Five images, uint8."""
    return np.random.default_rng(2).integers(0, 256, (COUNT, *model.image_shape), np.uint8)


def latents_of(model: VAE) -> np.ndarray:
    """Five vectors of latents."""
    return np.random.default_rng(3).standard_normal((COUNT, model.latents), np.float32)


def assert_computes_what_the_model_does(portable: PortableFormat, model: VAE) -> None:
    """Asserts it of the files of a format, with five images and with one."""
    given = {"images": images_of(model), "latents": latents_of(model)}
    if (labels := labels_of(model)) is not None:
        given["labels"] = labels
    served = ServedModel(model)
    for name, signature in served.portable_signatures().items():
        inputs = {key: given[key] for key in signature.inputs}
        function = portable.load(portable.convert(served, name))
        expected = signature.function()[0](*map(tf.constant, inputs.values()))
        for count in (5, 1):
            found = function({key: value[:count] for key, value in inputs.items()})
            assert found.keys() == expected.keys()
            for key, value in found.items():
                assert_close(value, expected[key].numpy()[:count])


def plain_process(script: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess:
    """Runs a script in a directory, without this project among the modules that it can import."""
    check = (
        "import importlib.util, sys\n"
        "assert all(map(lambda name: importlib.util.find_spec(name) is None,\n"
        "               ('components', 'trainer', 'pipeline'))), sys.path\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, "-c", check + script, *map(str, arguments)],
        cwd=cwd,
        env=environment | {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"},
        capture_output=True,
        text=True,
        timeout=240,
    )


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    """Asserts that outputs agree within 1e-5 of the largest number of each."""
    largest = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * largest)


def uses_only_keras(network: keras.Model) -> bool:
    """Whether all layers and activation functions of a network are Keras's own."""
    layers = network._flatten_layers()
    parts = [*layers, *filter(None, (getattr(each, "activation", None) for each in layers))]
    return all(getattr(each, "__module__", "keras.").startswith("keras.") for each in parts)
