import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from components.metrics.elbo import estimate_elbo
from components.model.decode import decode, reconstruct
from components.model.encode import encode
from pipeline.export.served_model import ServedModel
from tests.pipeline.export.exported_models import (
    COUNT,
    EXPORTED,
    assert_close,
    images_of,
    labels_of,
    latents_of,
    made,
    plain_process,
)

# Calls each function of each model, and writes the outputs; then with one image, and with none.
PLAIN = """
import numpy as np, tensorflow as tf
for directory in sys.argv[1:]:
    functions = tf.saved_model.load(directory + "/model").signatures
    given = np.load(directory + "/given.npz")
    outputs = {}
    for count in (5, 1, 0):
        constants = {key: tf.constant(given[key][:count]) for key in given.files}
        constants |= {"count": tf.constant(count), "seed": tf.constant(7)}
        pngs = [tf.io.encode_png(image).numpy() for image in constants["images"]]
        constants["image_bytes"] = tf.constant(pngs, tf.string, [count])
        for name, function in functions.items():
            inputs = function.structured_input_signature[1]
            for key, value in function(**{key: constants[key] for key in inputs}).items():
                outputs[f"{name}.{key}.{count}"] = value.numpy()
    np.savez(directory + "/outputs.npz", **outputs)
"""


@pytest.fixture(scope="module")
def outputs(tmp_path_factory) -> dict[str, dict[str, np.ndarray]]:
    """By model, what its SavedModel computes in a process without this project."""
    root = tmp_path_factory.mktemp("served")
    for number, name in enumerate(EXPORTED):
        model = made(name)
        served = ServedModel(model)
        served.save(root / str(number) / "model", served.signatures)
        given = {"images": images_of(model), "latents": latents_of(model)}
        if (labels := labels_of(model)) is not None:
            given["labels"] = labels
        np.savez(root / str(number) / "given.npz", **given)
    done = plain_process(PLAIN, *range(len(EXPORTED)), cwd=root)
    assert done.returncode == 0, done.stderr
    return {
        name: dict(np.load(root / str(number) / "outputs.npz"))
        for number, name in enumerate(EXPORTED)
    }


@pytest.mark.parametrize("name", EXPORTED)
def test_a_plain_process_computes_what_the_model_does(name, outputs):
    found, model = outputs[name], made(name)
    images, labels = images_of(model), labels_of(model)
    mean, log_variance = encode(model, images)
    for function in ("encode", "encode_bytes"):
        assert_close(found[f"{function}.mean.{COUNT}"], mean)
        assert_close(found[f"{function}.log_variance.{COUNT}"], log_variance)
    assert_close(found[f"decode.images.{COUNT}"], decode(model, latents_of(model), labels))
    assert_close(found[f"reconstruct.images.{COUNT}"], reconstruct(model, images, labels))
    latents = found[f"sample.latents.{COUNT}"]
    assert latents.shape == (COUNT, model.latents)
    assert_close(found[f"sample.images.{COUNT}"], decode(model, latents, labels))


@pytest.mark.parametrize("name", EXPORTED)
def test_a_score_is_the_elbo_of_a_set_of_one_image(name, outputs):
    found, model = outputs[name], made(name)
    images, labels = images_of(model), labels_of(model)
    expected = [
        estimate_elbo(
            model,
            images[row : row + 1],
            None if labels is None else labels[row : row + 1],
            seed=0,
        )
        for row in range(COUNT)
    ]
    elbo = np.concatenate([each.elbo for each in expected])
    assert_close(found[f"score.elbo.{COUNT}"], elbo)
    for term in ("rate", "distortion"):
        value = np.concatenate([getattr(each, term) for each in expected])
        atol = 1e-5 * np.abs(elbo).max()
        np.testing.assert_allclose(found[f"score.{term}.{COUNT}"], value, rtol=0, atol=atol)


@pytest.mark.parametrize("name", EXPORTED)
def test_the_answer_for_an_image_does_not_depend_on_its_batch(name, outputs):
    found = outputs[name]
    for key in (key for key in found if key.endswith(".1") and not key.startswith("sample.")):
        assert_close(found[key], found[key.removesuffix("1") + str(COUNT)][:1])


@pytest.mark.parametrize("name", EXPORTED)
def test_no_images_have_no_rows_in_every_output(name, outputs):
    found = outputs[name]
    empty = {key.removesuffix(".0"): each for key, each in found.items() if key.endswith(".0")}
    assert {key.partition(".")[0] for key in empty} == ServedModel(made(name)).signatures.keys()
    for key, value in empty.items():
        expected = found[f"{key}.{COUNT}"]
        assert value.shape == (0, *expected.shape[1:])
        assert value.dtype == expected.dtype


def signature(model, name: str):
    return ServedModel(model).signatures[name].function()[0]


def test_samples_are_draws_from_the_prior_and_depend_on_the_seed():
    model = made("causal, flow")
    sample = signature(model, "sample")
    first, again, other = (sample(tf.constant(300), tf.constant(seed)) for seed in (3, 3, -4))
    np.testing.assert_array_equal(first["latents"], again["latents"])
    assert abs(np.corrcoef(first["latents"], other["latents"], rowvar=False)[0, 3]) < 0.3
    noise = np.random.default_rng(0).standard_normal((3000, model.latents))
    expected = model.sample_prior(tf.constant(noise, tf.float32)).numpy()
    deviation = expected.std(axis=0) / np.sqrt(300)
    assert (np.abs(first["latents"].numpy().mean(0) - expected.mean(0)) < 5 * deviation).all()


def test_too_large_a_count_is_an_error():
    model = made("first")
    sample = signature(model, "sample")
    count = ServedModel(model).largest_count
    assert len(sample(tf.constant(count), tf.constant(0))["images"]) == count
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"count must be at most {count}"):
        sample(tf.constant(count + 1), tf.constant(0))


@pytest.mark.parametrize("name", ["decode", "reconstruct", "score"])
@pytest.mark.parametrize("label", [-1, 4])
def test_a_label_that_the_model_does_not_know_is_an_error(name, label):
    model = made("conditional, at once")
    given = latents_of(model) if name == "decode" else images_of(model)
    labels = tf.constant([0, 1, label, 2, 3], tf.int64)
    with pytest.raises(tf.errors.InvalidArgumentError, match="labels must be from 0 to 3"):
        signature(model, name)(tf.constant(given), labels)


def test_images_of_another_shape_or_type_are_refused():
    model = made("first")
    encode_images = signature(model, "encode")
    for images in (np.zeros((2, 6, 8, 1), np.uint8), np.zeros((2, 8, 6, 1), np.float32)):
        with pytest.raises((TypeError, ValueError)):
            encode_images(tf.constant(images))


def test_a_saved_model_refuses_images_of_another_shape_with_as_many_pixels(tmp_path):
    served = ServedModel(made("first"))
    served.save(tmp_path / "model", {"encode": served.signatures["encode"]})
    encode_images = tf.saved_model.load(str(tmp_path / "model")).signatures["encode"]
    assert encode_images(images=tf.zeros([2, 8, 6, 1], tf.uint8))["mean"].shape[0] == 2
    for shape in ([2, 6, 8, 1], [2, 48]):
        with pytest.raises(tf.errors.InvalidArgumentError, match="not compatible"):
            encode_images(images=tf.zeros(shape, tf.uint8))


def test_transparent_pixels_become_the_background():
    model = made("first")
    transparent = tf.io.encode_png(np.full((*model.image_shape[:2], 2), [[[99, 0]]], np.uint8))
    means = []
    for background in (0, 255):
        served = ServedModel(model, background=background)
        means.append(served.encode_bytes(transparent[tf.newaxis])["mean"])
        plain = np.full((1, *model.image_shape), background, np.uint8)
        np.testing.assert_allclose(means[-1], encode(model, plain)[0], rtol=1e-5)
    assert not np.allclose(*means)


@pytest.mark.parametrize("name", ["colors", "three levels"])
def test_a_saved_model_holds_nothing_that_a_server_cannot_run(name, tmp_path):
    served = ServedModel(made(name))
    card = tmp_path / "card.md"
    card.write_text("a card")
    served.save(tmp_path / "model", served.signatures, card=card)
    data = (tmp_path / "model/saved_model.pb").read_bytes()
    assert str(tmp_path).encode() not in data
    library = saved_model_pb2.SavedModel.FromString(data).meta_graphs[0].graph_def.library
    assert library.function
    for function in library.function:
        nodes = [function, *function.node_def]
        assert not any(node.attr["_XlaMustCompile"].b for node in nodes)
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    assert tf.io.read_file(loaded.model_card.asset_path) == b"a card"
    assert (tmp_path / "model/assets/card.md").read_text() == "a card"


@pytest.mark.parametrize(
    ("name", "functions"),
    [
        ("first", ["encode", "decode"]),
        ("causal, flow", ["encode"]),
        ("three levels", ["encode", "decode"]),
    ],
)
def test_a_decoder_in_turns_is_not_portable(name, functions):
    assert list(ServedModel(made(name)).portable_signatures()) == functions
