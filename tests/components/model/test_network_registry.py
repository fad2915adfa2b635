import subprocess
import sys

import pytest

from components.model.network_registry import MIN_WIDTHS, NETWORKS
from components.model.networks import Network
from components.model.vae import VAE


def test_every_name_has_a_network_and_a_minimum_number_of_widths():
    assert list(NETWORKS) == list(MIN_WIDTHS) == ["mlp", "conv", "keras_conv"]
    assert all(isinstance(network, Network) for network in NETWORKS.values())


@pytest.mark.parametrize("network", MIN_WIDTHS)
def test_a_model_can_be_built_from_the_minimum_number_of_widths(network):
    model = VAE(
        image_shape=(8, 8, 1), network=network, latents=2, widths=(4,) * MIN_WIDTHS[network]
    )
    assert model.count_params() > 0


def test_the_import_does_not_import_keras():
    """The command line shows the names in its help."""
    code = "import sys, components.model.network_registry; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert not {"keras", "tensorflow", "numpy"} & set(result.stdout.split())
