import keras
import numpy as np
import pytest
import tensorflow as tf

from components.model.encode import encode
from pipeline.export import plain_networks
from pipeline.export.plain_networks import plain_decoder, plain_encoder
from tests.pipeline.export.exported_models import (
    EXPORTED,
    LABELS,
    assert_close,
    images_of,
    latents_of,
    made,
    plain_process,
    uses_only_keras,
)

PLAIN = """
import keras, numpy as np
for directory in sys.argv[1:]:
    given = np.load(directory + "/given.npz")
    encoder, decoder = (
        keras.saving.load_model(f"{directory}/{name}.keras") for name in ("encoder", "decoder")
    )
    outputs = encoder.predict(given["images"], verbose=0)
    outputs["outputs"] = decoder.predict(given["latents"], verbose=0)
    np.savez(directory + "/outputs.npz", **outputs)
"""


def decoder_inputs(model) -> tuple[np.ndarray, np.ndarray | None]:
    """Latents and conditions."""
    classes = model.architecture.classes
    return latents_of(model), np.eye(classes, dtype=np.float32)[LABELS] if classes else None


@pytest.fixture(scope="module")
def outputs(tmp_path_factory) -> dict[str, dict[str, np.ndarray]]:
    """By model, what its `.keras` files compute in a process without this project."""
    root = tmp_path_factory.mktemp("plain")
    for number, name in enumerate(EXPORTED):
        directory = root / str(number)
        directory.mkdir()
        model = made(name)
        plain_encoder(model).save(directory / "encoder.keras")
        plain_decoder(model).save(directory / "decoder.keras")
        parts = [part for part in decoder_inputs(model) if part is not None]
        latents = np.concatenate(parts, axis=-1)
        np.savez(directory / "given.npz", images=images_of(model), latents=latents)
    done = plain_process(PLAIN, *range(len(EXPORTED)), cwd=root)
    assert done.returncode == 0, done.stderr
    return {
        name: dict(np.load(root / str(number) / "outputs.npz"))
        for number, name in enumerate(EXPORTED)
    }


@pytest.mark.parametrize("name", EXPORTED)
def test_networks_in_a_plain_process_compute_what_the_model_does(name, outputs):
    model = made(name)
    mean, log_variance = encode(model, images_of(model))
    assert_close(outputs[name]["mean"], mean)
    assert_close(outputs[name]["log_variance"], log_variance)
    latents, condition = decoder_inputs(model)
    assert_close(outputs[name]["outputs"], model.latent_model.decode(latents, condition).numpy())


def test_a_log_variance_is_bounded():
    model = made("first")
    model.set_weights([100 * weight for weight in model.get_weights()])
    found = plain_encoder(model).predict_on_batch(images_of(model))["log_variance"]
    assert np.abs(found).max() == 20
    assert_close(found, encode(model, images_of(model))[1])


def test_an_activation_of_this_project_becomes_that_of_keras():
    @tf.custom_gradient
    def silu(x):
        return x * tf.sigmoid(x), lambda upstream: upstream

    model = made("three levels")
    network = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3, silu), keras.layers.Activation(silu)]
    )
    assert not uses_only_keras(network)
    plain = plain_networks._plain(network, model)
    assert uses_only_keras(plain)
    x = np.linspace(-3, 3, 8, dtype=np.float32).reshape(2, 4)
    np.testing.assert_allclose(plain(x), network(x), rtol=1e-5, atol=1e-6)
