import base64
import dataclasses

import numpy as np
import pytest

from components.model import vae as vaes
from components.model.decode import decode
from components.model.latent_plane import Plane
from pipeline.evaluate.report import explorer
from pipeline.evaluate.report.subject import DecodedPlane
from tests.components.figures.test_page_pictures import picture
from tests.pipeline.evaluate.report.subjects import report_subject

ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
}


def run(layers, point: np.ndarray) -> np.ndarray:
    """What a page computes of the layers of a decoder, in NumPy."""
    values = point
    for index, layer in enumerate(layers):
        kernel_type = np.float16 if index else np.float32
        kernel = np.frombuffer(base64.b64decode(layer["kernel"]), kernel_type)
        bias = np.frombuffer(base64.b64decode(layer["bias"]), np.float32)
        kernel = kernel.reshape(layer["inputs"], layer["outputs"]).astype(np.float64)
        values = ACTIVATIONS[layer["activation"]](values @ kernel + bias)
    return values


@pytest.mark.parametrize("activation", ["relu", "silu"])
@pytest.mark.parametrize(("latents", "classes"), [(1, 0), (2, 0), (5, 3)])
def test_the_layers_on_the_plane_are_the_decoder(latents, classes, activation):
    model = vaes.VAE(
        image_shape=(4, 5, 1),
        network="mlp",
        latents=latents,
        widths=(8, 6),
        classes=classes,
        activation=activation,
    )
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=each.shape) for each in model.get_weights()])
    plane = Plane.of(rng.normal(3, 2, (40, latents)).astype(np.float32))
    space = DecodedPlane(plane, (0.5,), np.zeros((1, 1, 4, 5, 1), np.uint8), label=classes - 1)
    found = explorer._dense_decoder(model, space)
    assert found is not None
    points = rng.normal(size=(7, 2))
    z = (plane.center + points @ plane.axes).astype(np.float32)
    labels = np.full(7, classes - 1) if classes else None
    expected = decode(model, z, labels).reshape(7, -1)
    assert run(found["layers"], points) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    "fields",
    [
        {"network": "conv", "widths": (2, 4)},
        {"likelihood": "gaussian"},
        {"head": "causal", "feature_channels": 2},
        {"linear_path": "principal_components", "likelihood": "gaussian"},
    ],
)
def test_other_decoders_are_not_computed_by_a_page(fields):
    fields = {"network": "mlp", "widths": (3,)} | fields
    model = vaes.VAE(image_shape=(8, 8, 1), latents=2, **fields)
    plane = Plane.of(np.zeros((3, 2), np.float32))
    space = DecodedPlane(plane, (0.5,), np.zeros((1, 1, 8, 8, 1), np.uint8), label=0)
    assert explorer._dense_decoder(model, space) is None


def test_the_points_are_the_embeddings_with_their_ids_and_images(example_set, model_dir):
    subject = report_subject(example_set, model_dir)
    found = explorer.explorer(subject)
    data, examples = found.data, subject.examples
    assert (found.shown, found.total, found.is_exact) == (100, 100, True)
    assert data["ids"] == examples.ids
    assert data["x"] == pytest.approx(subject.means[:, 0].tolist(), rel=1e-4)
    assert data["y"] == pytest.approx(subject.means[:, 1].tolist(), rel=1e-4)
    names = [data["names"][each] for each in data["classes"]]
    assert names == [example_set.class_names[label] for label in examples.labels]
    assert sum(data["counts"]) == 100
    sprite = data["sprite"]
    pixels = picture(sprite["uri"])
    row, column = divmod(57, sprite["columns"])
    assert (pixels[28 * row :, 28 * column :][:28, :28] == examples.images[57, ..., 0]).all()


def test_points_that_are_not_finite_are_left_out(example_set, model_dir):
    subject = report_subject(example_set, model_dir)
    means = subject.means.copy()
    means[3] = np.nan
    found = explorer.explorer(dataclasses.replace(subject, means=means))
    assert (found.shown, found.total) == (99, 100)
    assert subject.examples.ids[3] not in found.data["ids"]


def test_a_large_decoder_becomes_a_grid(example_set, model_dir, monkeypatch):
    monkeypatch.setattr(explorer, "_MAX_WEIGHTS", 10)
    subject = report_subject(example_set, model_dir)
    found = explorer.explorer(subject)
    assert not found.is_exact
    assert found.data["decoder"] == {"kind": "grid"}
    grid = found.data["grid"]
    assert grid["side"] == 3
    pixels = picture(grid["sprite"]["uri"])
    row, column = divmod(3 * 2 + 1, grid["sprite"]["columns"])
    tile = pixels[28 * row :, 28 * column :][:28, :28]
    assert (tile == subject.space.images[2, 1, ..., 0]).all()


def test_images_of_noise_stay_within_the_limit(example_set, model_dir):
    rng = np.random.default_rng(0)
    subject = report_subject(example_set, model_dir)
    count = 4100
    examples = dataclasses.replace(
        subject.examples,
        ids=[str(number) for number in range(count)],
        images=rng.integers(0, 256, (count, 32, 32, 3), np.uint8),
        labels=rng.integers(0, 10, count),
    )
    rows, pictures = explorer._chosen(examples, np.arange(count))
    assert len(rows) in (1000, 2000)
    assert len(pictures.uri) <= 3 << 20
