import dataclasses
import subprocess
import sys

import pytest

from components.model.architecture import Architecture, default_widths

# The settings of a model before there were others.
FIRST = {"image_shape": (28, 28, 1), "network": "conv", "latents": 3, "widths": (4, 8)}


def test_the_defaults_are_what_models_had_before_the_settings_existed():
    """A file of an earlier version has none of these settings."""
    assert dataclasses.asdict(Architecture(**FIRST)) == FIRST | {
        "activation": "relu",
        "encoder_blocks": 0,
        "decoder_blocks": 1,
        "feature_channels": 32,
        "likelihood": "bernoulli",
        "head": "factorized",
        "head_layers": 1,
        "prior": "standard_normal",
        "levels": 1,
        "linear_path": "none",
        "classes": 0,
        "noise_model": "none",
    }


@pytest.mark.parametrize(
    ("network", "shape", "widths"),
    [
        ("mlp", (28, 28, 1), (256,)),
        ("mlp", (128, 128, 3), (256,)),
        ("residual", (3, 200, 1), (32, 256)),
        ("residual", (16, 16, 1), (32, 256)),
        ("conv", (28, 28, 1), (32, 64, 256)),
        ("residual", (32, 40, 3), (32, 64, 256)),
        ("residual", (64, 64, 3), (32, 64, 128, 256)),
        ("keras_conv", (128, 128, 3), (32, 64, 128, 128, 256)),
    ],
)
def test_widths_that_are_not_given_follow_from_the_size_of_the_images(network, shape, widths):
    assert default_widths(network, shape) == widths


def test_equal_settings_are_equal_and_have_one_hash():
    assert Architecture(**FIRST) == Architecture(**FIRST)
    assert hash(Architecture(**FIRST)) == hash(Architecture(**FIRST))
    assert Architecture(**FIRST) != Architecture(**FIRST | {"latents": 4})


def test_the_import_does_not_import_keras():
    """The trainer's config has an architecture, and the command line imports the config."""
    code = "import sys, components.model.architecture; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert not {"keras", "tensorflow", "numpy"} & set(result.stdout.split())
