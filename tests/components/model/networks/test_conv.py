import pytest

from components.model.networks.conv import CONV, KERAS_CONV
from components.model.networks.network import NetworkSettings

SETTINGS = NetworkSettings((28, 28, 1), latents=2, widths=(32, 64, 16), outputs=1)


def kernel_shapes(model) -> list[tuple[int, ...]]:
    return [tuple(weight.shape) for weight in model.weights if len(weight.shape) > 1]


@pytest.mark.parametrize(("network", "side"), [(CONV, 4), (KERAS_CONV, 3)])
def test_the_encoder_has_a_strided_convolution_per_width_except_the_last(network, side):
    assert kernel_shapes(network.encoder(SETTINGS)) == [
        (side, side, 1, 32),
        (side, side, 32, 64),
        (7 * 7 * 64, 16),
        (16, 4),
    ]


def test_the_decoder_mirrors_the_encoder():
    # A transposed convolution's kernel has its outputs before its inputs.
    assert kernel_shapes(CONV.decoder(SETTINGS)) == [
        (2, 16),
        (16, 7 * 7 * 64),
        (4, 4, 32, 64),
        (4, 4, 1, 32),
    ]


def test_the_decoder_of_the_keras_example():
    """The numbers of parameters are those of keras.io/examples/generative/vae."""
    decoder = KERAS_CONV.decoder(SETTINGS)
    assert kernel_shapes(decoder) == [
        (2, 7 * 7 * 64),
        (3, 3, 64, 64),
        (3, 3, 32, 64),
        (3, 3, 1, 32),
    ]
    assert decoder.count_params() == 9_408 + 36_928 + 18_464 + 289
