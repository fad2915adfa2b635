import subprocess
import sys

import keras
import pytest

from components.model.heads.head import Head
from components.model.networks.network import Network
from components.model.priors.prior import Prior
from components.model.registry import (
    ACTIVATIONS,
    HEADS,
    LIKELIHOODS,
    MIN_WIDTHS,
    NETWORKS,
    PRIORS,
)
from components.model.vae import VAE


def test_every_name_has_a_network_and_a_minimum_number_of_widths():
    assert list(NETWORKS) == list(MIN_WIDTHS)
    assert all(isinstance(network, Network) for network in NETWORKS.values())


def test_the_names_of_published_models_are_kept():
    """They are saved in `.keras` files: without one of them, such a file is unreadable."""
    assert {"mlp", "conv", "keras_conv"} <= set(NETWORKS)
    assert "bernoulli" in LIKELIHOODS
    assert "factorized" in HEADS
    assert "standard_normal" in PRIORS
    assert "relu" in ACTIVATIONS


def test_every_name_has_an_object_of_its_kind():
    assert all(issubclass(head, Head) for head in HEADS.values())
    assert all(issubclass(prior, Prior) for prior in PRIORS.values())
    assert len(set(LIKELIHOODS.values())) == len(LIKELIHOODS)
    assert all(family.num_outputs(3) >= 3 for family in LIKELIHOODS.values())
    assert all(callable(keras.activations.get(name)) for name in ACTIVATIONS)


@pytest.mark.parametrize("network", MIN_WIDTHS)
def test_a_model_can_be_built_from_the_minimum_number_of_widths(network):
    model = VAE(
        image_shape=(8, 8, 1), network=network, latents=2, widths=(4,) * MIN_WIDTHS[network]
    )
    assert model.count_params() > 0


def test_the_import_does_not_import_keras():
    """The command line shows the names in its help."""
    code = "import sys, components.model.registry; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert not {"keras", "tensorflow", "numpy"} & set(result.stdout.split())
