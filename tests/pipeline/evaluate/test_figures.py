import re
from collections import Counter

import numpy as np
import pytest
from etils import epath
from PIL import Image

from components.data.examples import ExampleBatch
from components.metrics.nearest_images import nearest_images
from components.model import vae
from pipeline.evaluate import figures
from pipeline.evaluate.figures import FigureWriter
from pipeline.evaluate.report.subject import ComparedImages, Strip
from tests.pipeline.evaluate.test_scores import SCORES
from trainer.recording.epoch_metrics import EpochMetrics

LOSSES = {"loss": 30.0, "rate": 10.0, "distortion": 20.0}


def epochs(*heldout) -> list[EpochMetrics]:
    return [
        EpochMetrics(n, 10 * n, LOSSES, losses, learning_rate=0.001, beta=1.0)
        for n, losses in enumerate(heldout, start=1)
    ]


@pytest.fixture
def writer(tmp_path, model_dir, example_set) -> FigureWriter:
    model = vae.load(model_dir / "model.keras")
    return FigureWriter(tmp_path, vae=model, scores=SCORES, class_names=example_set.class_names)


def test_the_latent_space_is_two_figures(writer, tmp_path):
    rng = np.random.default_rng(0)
    writer.draw_latent_space(rng.standard_normal((50, 2), np.float32), np.arange(50) % 10)
    assert {path.name for path in tmp_path.iterdir()} == {"encodings.png", "latent_grid.png"}


def test_what_is_drawn_is_returned(writer, example_set):
    test = example_set.read("test")
    means = np.random.default_rng(0).standard_normal((100, 2), np.float32)
    space = writer.draw_latent_space(means, test.labels)
    assert space.images.shape == (20, 20, 28, 28, 1)
    assert space.plane.project(means) == pytest.approx(means)
    (samples,) = writer.draw_samples(seed=0)
    assert samples.label is None
    assert samples.images.shape == (10, 20, 28, 28, 1)
    strips = writer.draw_reconstructions(test)
    assert [strip.label for strip in strips] == list(range(10))
    for strip in strips:
        originals = test.images[test.labels == strip.label][:10]
        assert (strip.images[0] == originals).all()
        assert strip.images.shape == (2, len(originals), 28, 28, 1)


def test_strips_have_no_padding(writer, example_set):
    first = example_set.read("test").part(0, 12)
    shapes = {each.label: each.images.shape[:2] for each in writer.draw_reconstructions(first)}
    assert shapes == {label: (2, n) for label, n in Counter(first.labels.tolist()).items()}


@pytest.mark.parametrize(
    ("latents", "title", "axis"),
    [
        (2, "Latent space, decoded over quantiles of the prior", "latent 1: quantile"),
        (
            3,
            "Latent space, decoded over quantiles of the embeddings",
            r"principal component 1 \(\d\d% of variance\): quantile",
        ),
    ],
)
def test_the_latent_grid_says_what_its_axes_are(
    writer, tmp_path, monkeypatch, latents, title, axis
):
    texts = {}
    monkeypatch.setattr(
        figures.grids, "latent_grid", lambda images, **arguments: texts.update(arguments)
    )
    monkeypatch.setattr(writer, "_decode", lambda z, labels, grid: np.zeros((*grid, 2, 2, 1)))
    rng = np.random.default_rng(0)
    writer.draw_latent_space(rng.standard_normal((50, latents), np.float32), np.arange(50) % 10)
    assert texts["title"] == title
    assert re.fullmatch(axis, texts["axis_labels"][0])


def test_samples_depend_only_on_the_seed(writer, tmp_path):
    pictures = []
    for seed in (0, 0, 1):
        writer.draw_samples(seed=seed)
        pictures.append((tmp_path / "samples.png").read_bytes())
    assert pictures[0] == pictures[1] != pictures[2]


def test_samples_stand_above_the_nearest_training_images(
    writer, tmp_path, example_set, monkeypatch
):
    drawn = {}
    monkeypatch.setattr(
        figures.grids, "image_grid", lambda images, **kw: drawn.update(images=images, **kw)
    )
    train, test = example_set.read("train").images, example_set.read("test")
    # Of the memorized samples, the figure shows the first ten of each row.
    samples = np.resize(train, (3, 20, *train.shape[1:]))
    compared = writer.draw_neighbors_of_samples([Strip(None, samples)], example_set, test)
    np.testing.assert_array_equal(drawn["images"][::2], samples[:, :10])
    np.testing.assert_array_equal(drawn["images"][1::2], samples[:, :10])
    assert drawn["row_names"] == ["sample", "nearest training image"] * 3
    assert drawn["path"] == [tmp_path / "neighbors_of_samples.png"]
    _, distances = nearest_images(test.images[:30], [train])
    medians = f"0.000 for samples, {np.median(distances):.3f} for test images"
    assert medians in drawn["subtitle"]
    assert medians in compared.caption
    assert compared.images is drawn["images"]
    assert compared.names == drawn["row_names"]


def test_compared_images_are_drawn_in_all_formats(writer, tmp_path):
    images = np.random.default_rng(0).random((2, 3, 8, 8, 1))
    compared = ComparedImages("Denoised", "of cats", "Look.", ["clean", "noisy"], images)
    writer._formats = ("png", "svg")
    writer.draw_comparison("denoising", compared)
    assert {path.name for path in tmp_path.iterdir()} == {"denoising.png", "denoising.svg"}


def test_reconstructions_are_drawn(writer, tmp_path, example_set):
    writer.draw_reconstructions(example_set.read("test"))
    with Image.open(tmp_path / "reconstructions.png") as image:
        assert min(image.size) > 400


@pytest.mark.parametrize("heldout", [(None, None), (None, LOSSES), (LOSSES, LOSSES)])
def test_learning_curves_need_no_held_out_losses(writer, tmp_path, heldout):
    writer.draw_learning_curves(epochs(*heldout))
    assert (tmp_path / "learning_curves.png").exists()


@pytest.mark.parametrize(
    ("metric", "subtitle"),
    [
        ("elbo", "cats · mlp · test ELBO −30.00 ± 0.50 nats"),
        ("rate", "cats · mlp · test rate 10.00 ± 0.25 nats"),
    ],
)
def test_the_subtitle_has_a_score_with_a_minus_sign(writer, metric, subtitle):
    assert writer._subtitle(metric) == subtitle


def test_the_first_examples_of_each_class_are_chosen():
    labels = np.array([3, 1, 3, 1, 1, 7], np.int64)
    images = np.arange(1, 7, dtype=np.uint8).reshape(6, 1, 1, 1)
    batch = ExampleBatch([str(n) for n in range(6)], images, labels)
    chosen, pictures = figures.first_of_each_class(batch)
    assert chosen == [1, 3, 7]
    # As many columns as the largest class has images; white where there are none.
    assert pictures[..., 0, 0, 0].tolist() == [[2, 4, 5], [1, 3, 255], [6, 255, 255]]


def test_a_class_has_at_most_ten_images():
    images = np.arange(12, dtype=np.uint8).reshape(12, 1, 1, 1)
    batch = ExampleBatch([str(n) for n in range(12)], images, np.zeros(12, np.int64))
    assert figures.first_of_each_class(batch)[1].ravel().tolist() == list(range(10))


def test_of_many_classes_the_first_are_chosen():
    labels = np.arange(50, dtype=np.int64)
    batch = ExampleBatch([str(n) for n in labels], np.zeros((50, 1, 1, 1), np.uint8), labels)
    chosen, _ = figures.first_of_each_class(batch)
    assert chosen == list(range(20))


def test_classes_are_drawn_in_natural_order_and_in_letters_of_the_font(tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        figures.scatter, "encodings", lambda *args, **kw: drawn.update(args=args, **kw)
    )
    model = vae.VAE(image_shape=(2, 2, 1), network="mlp", latents=2, widths=(3,))
    names = ["1", "10", "2", "猫"]
    writer = figures.FigureWriter(epath.Path(tmp_path), vae=model, scores=SCORES, class_names=names)
    writer.draw_latent_space(np.zeros((4, 2), np.float32), np.array([0, 1, 2, 3]))
    assert drawn["class_names"] == ["1", "2", "10", "class 3"]
    assert drawn["args"][1].tolist() == [0, 2, 1, 3]
    assert drawn["subtitle"].endswith("1 class name is shown as numbers: the font lacks letters")


NAMES = ["10", "9", "100"]


@pytest.fixture
def conditional_writer(tmp_path) -> FigureWriter:
    """Of a model whose images of label k are of intensity k / 10, whatever the latents are."""
    model = vae.VAE(image_shape=(2, 2, 1), network="mlp", latents=2, widths=(3,), classes=3)
    model.set_weights([np.zeros_like(weight) for weight in model.get_weights()])
    intensities = np.array([0.1, 0.2, 0.3])
    hidden, _, output, _ = model.decoder.weights
    hidden.assign(np.concatenate([np.zeros((2, 3)), np.eye(3)]))
    output.assign(np.repeat(np.log(intensities / (1 - intensities))[:, np.newaxis], 4, axis=1))
    names = sorted(NAMES)  # 10, 100, 9: shown as 9, 10, 100
    return FigureWriter(tmp_path, vae=model, scores=SCORES, class_names=names)


@pytest.fixture
def drawn(monkeypatch) -> dict[str, dict]:
    """The arguments of the grids that are drawn, by the name of the function."""
    calls = {}
    for name in ("image_grid", "latent_grid", "reconstructions"):

        def record(*images, name=name, **arguments):
            calls[name] = {"images": images, **arguments}

        monkeypatch.setattr(figures.grids, name, record)
    return calls


def tenths(images: np.ndarray) -> list[int]:
    """The intensity of the first pixel of the first image of each row, in tenths."""
    return np.rint(images[:, 0, 0, 0, 0] / 25.5).astype(int).tolist()


def test_samples_of_a_conditional_model_are_a_row_for_each_class(conditional_writer, drawn):
    conditional_writer.draw_samples(seed=0)
    (images,) = drawn["image_grid"]["images"]
    assert images.shape == (3, 20, 2, 2, 1)
    assert drawn["image_grid"]["row_names"] == ["9", "10", "100"]
    assert tenths(images) == [3, 1, 2]


def test_samples_of_classes_have_their_labels(conditional_writer, drawn):
    strips = conditional_writer.draw_samples(seed=0)
    assert [strip.label for strip in strips] == [2, 0, 1]
    assert [strip.images.shape for strip in strips] == [(1, 20, 2, 2, 1)] * 3


def test_the_latent_grid_of_a_conditional_model_is_of_the_first_class(conditional_writer, drawn):
    conditional_writer.draw_latent_space(np.zeros((3, 2), np.float32), np.arange(3))
    (images,) = drawn["latent_grid"]["images"]
    assert set(tenths(images)) == {3}
    assert drawn["latent_grid"]["subtitle"].endswith(" · given 9")


def test_reconstructions_of_a_conditional_model_are_of_their_own_labels(conditional_writer, drawn):
    labels = np.array([1, 2, 0, 1])
    batch = ExampleBatch([str(n) for n in range(4)], np.zeros((4, 2, 2, 1), np.uint8), labels)
    conditional_writer.draw_reconstructions(batch)
    assert drawn["reconstructions"]["class_names"] == ["9", "10", "100"]
    assert tenths(drawn["reconstructions"]["images"][1]) == [3, 1, 2]


def test_there_are_no_images_where_a_class_has_no_more_examples(conditional_writer, drawn):
    labels = np.array([1, 2, 0, 1])
    batch = ExampleBatch([str(n) for n in range(4)], np.zeros((4, 2, 2, 1), np.uint8), labels)
    strips = conditional_writer.draw_reconstructions(batch)
    for images in drawn["reconstructions"]["images"]:
        is_white = (images == 255).all(axis=(2, 3, 4))
        assert is_white.tolist() == [[False, True], [False, True], [False, False]]
    assert [strip.images.shape[:2] for strip in strips] == [(2, 1), (2, 1), (2, 2)]
