import hashlib
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from components.base import tensorflow_setup
from components.base.errors import ConfigError, WorkError
from components.data import codec
from components.metrics.elbo import estimate_elbo
from components.metrics.importance import log_likelihoods
from components.metrics.mean import Mean
from components.metrics.nearest_neighbors import LabeledVectors, best_k, correct
from components.model import embeddings, vae
from components.model.pixels import to_unit
from pipeline.evaluate.config import EvaluateConfig
from pipeline.evaluate.metrics import METRICS
from pipeline.evaluate.stage import evaluate
from tests.manifests import edit_manifest

FIGURES = (
    "encodings",
    "latent_grid",
    "samples",
    "neighbors_of_samples",
    "reconstructions",
    "learning_curves",
)


@pytest.fixture(scope="module")
def evaluation(examples_dir, model_dir, tmp_path_factory):
    directory = tmp_path_factory.mktemp("evaluated") / "evaluation"
    evaluate(EvaluateConfig(), examples=examples_dir, model=model_dir, output=directory)
    return directory


def test_the_scores_are_those_of_the_test_split(evaluation, model_dir, example_set):
    scores = json.loads((evaluation / "metrics.json").read_text())
    assert (scores["split"], scores["examples"], scores["preset"]) == ("test", 100, "mlp")
    examples = example_set.read("test")
    elbo = estimate_elbo(vae.load(model_dir / "model.keras"), examples.images, seed=0, samples=4)
    for name in ("elbo", "rate", "distortion"):
        expected = Mean.of(getattr(elbo, name))
        assert scores[name]["mean"] == pytest.approx(expected.value, rel=1e-6)
        assert scores[name]["half_width_95"] == pytest.approx(expected.half_width, rel=1e-5)
    assert scores["elbo"]["mean"] == pytest.approx(
        -scores["rate"]["mean"] - scores["distortion"]["mean"]
    )


def test_the_psnr_is_that_of_the_reconstructions_of_the_test_split(
    evaluation, model_dir, example_set
):
    model, images = vae.load(model_dir / "model.keras"), example_set.read("test").images
    errors = model(to_unit(images)).numpy().astype(np.float64) - images / 255
    expected = -10 * np.log10(np.square(errors).mean(axis=(1, 2, 3)))
    scores = json.loads((evaluation / "metrics.json").read_text())
    assert scores["psnr"]["mean"] == pytest.approx(expected.mean(), abs=1e-4)
    assert scores["psnr"]["half_width_95"] == pytest.approx(Mean.of(expected).half_width, abs=1e-4)
    assert scores["protocol"]["psnr_examples"] == 100
    page = (evaluation / "report.html").read_text()
    assert f"{expected.mean():.2f}" in page
    assert "evenly spaced" not in page


def test_the_neighbors_are_those_of_the_embeddings(evaluation, example_set):
    splits = {}
    for split in example_set.splits:
        (file,) = (evaluation / "embeddings").glob(f"*-{split}-*.parquet")
        read = embeddings.read(file)
        splits[split] = LabeledVectors(read.means, read.labels)
    k = best_k(splits["train"], splits["validation"])
    expected = Mean.of_proportion(correct(splits["train"], splits["test"], [k])[0])
    scores = json.loads((evaluation / "metrics.json").read_text())
    assert scores["knn_accuracy"]["mean"] == pytest.approx(expected.value)
    assert scores["knn_accuracy"]["half_width_95"] == pytest.approx(expected.half_width)
    assert scores["knn_accuracy"]["interval_95"] == pytest.approx(list(expected.interval))
    assert scores["protocol"]["knn_k"] == k
    assert scores["protocol"]["knn_examples"] == 100
    assert f"{k} nearest neighbors among the embeddings" in (evaluation / "report.html").read_text()


def test_the_scores_of_a_class_are_those_of_its_examples(evaluation, model_dir, example_set):
    scores = json.loads((evaluation / "metrics.json").read_text())
    examples = example_set.read("test")
    elbo = estimate_elbo(vae.load(model_dir / "model.keras"), examples.images, seed=0, samples=4)
    of_examples = {"elbo", "rate", "distortion", "psnr", "knn_accuracy", "linear_probe_accuracy"}
    assert of_examples <= scores["by_class"].keys()
    for label, name in enumerate(example_set.class_names):
        found, expected = scores["by_class"]["rate"][name], elbo.rate[examples.labels == label]
        assert found["examples"] == len(expected)
        assert found["mean"] == pytest.approx(expected.mean(), rel=1e-5)
        assert found["half_width_95"] == pytest.approx(Mean.of(expected).half_width, rel=1e-5)


def test_metrics_are_picked_and_other_metrics_are_another_evaluation(
    examples_dir, model_dir, tmp_path
):
    output = tmp_path / "evaluation"
    paths = {"examples": examples_dir, "model": model_dir, "output": output}
    evaluate(EvaluateConfig(draws=1, metrics=("psnr",)), **paths)
    scores = json.loads((output / "metrics.json").read_text())
    assert {"elbo", "rate", "distortion", "psnr"} == scores.keys() & METRICS.keys()
    assert scores["not_measured"] == {}
    with pytest.raises(ConfigError, match=r"metrics is .*, not the requested"):
        evaluate(EvaluateConfig(draws=1), **paths)


def test_importance_samples_give_the_log_likelihood_of_the_first_examples(
    examples_dir, model_dir, tmp_path
):
    config = EvaluateConfig(importance_samples=5, limit_examples=20)
    output = tmp_path / "evaluation"
    evaluate(config, examples=examples_dir, model=model_dir, output=output)
    scores = json.loads((output / "metrics.json").read_text())
    estimates = np.load(output / "log_likelihoods.npy")
    assert len(estimates) == scores["examples"] == 20
    assert scores["nll"]["mean"] == pytest.approx(-estimates.mean())
    assert scores["nll"]["mean"] < -scores["elbo"]["mean"]
    assert scores["protocol"]["psnr_examples"] == scores["protocol"]["knn_examples"] == 20
    assert scores["protocol"]["importance_samples"] == 5
    assert scores["protocol"]["examples_in_split"] == 100
    assert "bits_per_dim" not in scores  # A cross-entropy of intensities is no probability.
    page = (output / "report.html").read_text()
    assert "negative log-likelihood" in page
    assert "only the first 20 of 100 examples" in page


def test_every_split_has_embeddings(evaluation, example_set):
    for split in example_set.splits:
        (file,) = (evaluation / "embeddings").glob(f"*-{split}-*.parquet")
        read = embeddings.read(file)
        assert list(read.ids) == example_set.read(split).ids
        assert np.isfinite(read.means).all()


def test_the_projector_has_the_embeddings_of_the_test_split(evaluation, example_set):
    (file,) = (evaluation / "embeddings").glob("*-test-*.parquet")
    read = embeddings.read(file)
    tensors = np.loadtxt(evaluation / "projector/tensors.tsv", dtype=np.float32, ndmin=2)
    np.testing.assert_allclose(tensors, read.means, rtol=1e-5, atol=1e-6)
    lines = (evaluation / "projector/metadata.tsv").read_text().splitlines()
    assert [line.split("\t")[2] for line in lines[1:]] == list(read.ids)


def test_the_manifest_has_the_scores(evaluation):
    manifest = json.loads((evaluation / "manifest.json").read_text())
    assert manifest["counts"] == json.loads((evaluation / "metrics.json").read_text())


def test_the_progress_of_the_embedding_is_in_the_log(evaluation, examples_dir, model_dir, capsys):
    output = evaluation.parent / "again"
    evaluate(EvaluateConfig(draws=1), examples=examples_dir, model=model_dir, output=output)
    assert "evaluate: embedded 3 of 3 shards, 700 images\n" in capsys.readouterr().err
    evaluate(EvaluateConfig(draws=1), examples=examples_dir, model=model_dir, output=output)
    assert capsys.readouterr().err == f"evaluate: up to date ({output})\n"


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_a_picture(evaluation, name):
    with Image.open(evaluation / "figures" / f"{name}.png") as image:
        assert min(image.size) > 400


def test_the_report_needs_no_other_file_and_shows_the_scores(evaluation):
    page = (evaluation / "report.html").read_text()
    # It has figures of its own, and needs no file beside it.
    assert "figures/" not in page
    assert page.count('src="data:image/') > 20
    elbo = json.loads((evaluation / "metrics.json").read_text())["elbo"]["mean"]
    assert f"−{-elbo:.2f}" in page
    assert f"--output {evaluation}" in page
    manifest = json.loads((evaluation / "manifest.json").read_text())
    volatile = [name for name, output in manifest["outputs"].items() if "volatile" in output]
    assert volatile == ["report.html"]


def test_figures_have_the_formats_that_are_asked_for(examples_dir, model_dir, tmp_path):
    config = EvaluateConfig(draws=1, figure_format=("svg", "pdf"), titles=False)
    output = tmp_path / "evaluation"
    evaluate(config, examples=examples_dir, model=model_dir, output=output)
    names = {path.name for path in (output / "figures").iterdir()}
    assert names == {f"{name}.{each}" for name in FIGURES for each in ("svg", "pdf")}
    assert (output / "report.html").read_text().count("data:image/png") > 20


def test_a_shard_of_another_run_with_the_same_size_is_refused(
    examples_dir, example_set, model_dir, tmp_path
):
    shutil.copytree(examples_dir, tmp_path / "examples")
    (shard,) = (tmp_path / "examples").glob("*train.tfrecord-*")
    batch = example_set.read("train")
    batch.images[3] ^= 1
    shard.write_bytes(codec.encode(batch))
    with pytest.raises(WorkError, match=rf"{shard} is damaged or belongs to another run"):
        evaluate(
            EvaluateConfig(draws=1),
            examples=tmp_path / "examples",
            model=model_dir,
            output=tmp_path / "evaluation",
        )
    assert not (tmp_path / "evaluation").exists()


def test_the_notes_of_the_model_are_in_the_manifest_and_the_report(
    examples_dir, model_dir, tmp_path
):
    shutil.copytree(model_dir, tmp_path / "model")
    edit_manifest(tmp_path / "model", lambda manifest: manifest.update(notes=["a rate near 0"]))
    evaluate(
        EvaluateConfig(draws=1),
        examples=examples_dir,
        model=tmp_path / "model",
        output=tmp_path / "evaluation",
    )
    evaluated = json.loads((tmp_path / "evaluation/manifest.json").read_text())
    assert evaluated["notes"] == ["a rate near 0"]
    page = (tmp_path / "evaluation/report.html").read_text()
    assert page.count('<p class="note">a rate near 0</p>') == 1


def test_names_that_no_page_can_show_are_escaped(examples_dir, model_dir, tmp_path):
    examples, model = tmp_path / "examples", tmp_path / "model"
    shutil.copytree(examples_dir, examples)
    shutil.copytree(model_dir, model)
    edit_manifest(examples, lambda manifest: manifest["config"].update(dataset="\udcff"))
    edit_manifest(model, lambda manifest: manifest["config"].update(preset="\x1b[31m\n"))
    edit_manifest(model, lambda manifest: manifest["notes"].append("<script>\udcfe"))
    output = tmp_path / "evaluation"
    evaluate(EvaluateConfig(draws=1), examples=examples, model=model, output=output)
    report = (output / "report.html").read_text()
    assert r"\udcff · \x1b[31m\n" in report
    assert r"&lt;script&gt;\udcfe" in report


def test_a_model_without_metrics_is_refused(examples_dir, model_dir, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(model_dir, model)
    (model / "metrics.jsonl").write_text("")
    empty = {"bytes": 0, "sha256": hashlib.sha256(b"").hexdigest()}
    edit_manifest(model, lambda manifest: manifest["outputs"].update({"metrics.jsonl": empty}))
    with pytest.raises(WorkError, match=r"metrics\.jsonl is damaged: it has no rows"):
        evaluate(
            EvaluateConfig(draws=1), examples=examples_dir, model=model, output=tmp_path / "out"
        )


def test_a_model_of_more_latents_without_a_validation_split_is_evaluated(tmp_path):
    from pipeline.prepare.stage import prepare
    from tests.conftest import tiny_prepare_config, tiny_train_config
    from trainer import stage

    config = tiny_prepare_config(synthetic_size=120, validation_fraction=0)
    prepare(config, output=tmp_path / "examples")
    config = tiny_train_config(latents=5, epochs=1)
    stage.run("mlp", config, examples=tmp_path / "examples", output=tmp_path / "model")
    evaluate(
        EvaluateConfig(draws=1),
        examples=tmp_path / "examples",
        model=tmp_path / "model",
        output=tmp_path / "evaluation",
    )
    assert len(list((tmp_path / "evaluation/figures").iterdir())) == len(FIGURES)


@pytest.fixture
def evaluate_arrays(tmp_path):
    """Returns a function that prepares arrays, trains on them and evaluates the model."""

    def run(images: dict[str, np.ndarray], labels: dict[str, np.ndarray], **fields):
        from pipeline.prepare.stage import prepare
        from tests.conftest import tiny_prepare_config, tiny_train_config
        from trainer import stage

        arrays = {f"{split}_images": array for split, array in images.items()}
        arrays |= {f"{split}_labels": array for split, array in labels.items()}
        np.savez(tmp_path / "data.npz", **arrays)
        root = tmp_path / "run[1]"
        prepare(tiny_prepare_config(dataset=str(tmp_path / "data.npz")), output=root / "examples")
        config = tiny_train_config(epochs=1, **fields)
        stage.run("mlp", config, examples=root / "examples", output=root / "model")
        paths = {"examples": root / "examples", "model": root / "model"}
        evaluate(EvaluateConfig(draws=1), **paths, output=root / "evaluation")
        return root / "evaluation"

    return run


def reject_constant(name: str):
    raise AssertionError(f"{name} is not JSON")


def noise(count: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, height, width), np.uint8)


EQUAL = np.full((5, 8, 8), 7, np.uint8)


@pytest.mark.parametrize(
    ("test_images", "num_classes", "latents"),
    [
        (noise(1, 8, 8), 2, 2),
        (noise(1, 8, 8), 2, 5),
        (EQUAL, 1, 1),
        (EQUAL, 0, 5),
        (noise(300, 8, 8), 300, 2),
        (noise(5, 4, 512), 2, 2),
        (noise(2, 1, 1000), 0, 3),
    ],
)
def test_unusual_test_splits_have_scores_and_figures(
    evaluate_arrays, test_images, num_classes, latents
):
    images = {"train": noise(320, *test_images.shape[1:]), "test": test_images}
    labels = {}
    if num_classes:
        labels = {split: np.arange(len(array)) % num_classes for split, array in images.items()}
    directory = evaluate_arrays(images, labels, latents=latents)
    for file in ("metrics.json", "manifest.json"):
        json.loads((directory / file).read_text(), parse_constant=reject_constant)
    scores = json.loads((directory / "metrics.json").read_text())
    assert (scores["elbo"]["half_width_95"] is None) == (len(test_images) == 1)
    assert ("knn_accuracy" in scores) == (num_classes > 1)
    for name in FIGURES:
        with Image.open(directory / "figures" / f"{name}.png") as image:
            assert max(image.size) < 4096 + 1000
    page = (directory / "report.html").read_text()
    visible = re.sub(r"<(style|script).*?</\1>|<[^>]*>", "", page, flags=re.DOTALL)
    assert not re.search(r"\b(inf|nan|None)\b", visible)
    assert [path.name for path in (directory.parent / "model/checkpoints").iterdir()]


def test_if_pixels_are_decoded_in_turn_the_psnr_is_of_a_part_of_the_examples(
    evaluate_arrays, monkeypatch, capsys
):
    from components.data.prepared_dataset import PreparedDataset
    from components.metrics import psnr

    monkeypatch.setattr(psnr, "_MAX_TURNS", 5 * 4 * 4)
    images = {"train": noise(60, 4, 4), "test": noise(20, 4, 4)}
    output = evaluate_arrays(images, {}, head="causal", head_layers=1, feature_channels=2)
    scores = json.loads((output / "metrics.json").read_text())
    assert scores["protocol"]["psnr_examples"] == 5
    test = PreparedDataset.open(output.parent / "examples").images("test")[[0, 4, 8, 12, 16]]
    reconstructions = vae.load(output.parent / "model/model.keras")(to_unit(test)).numpy()
    expected = -10 * np.log10(np.square(reconstructions - test / 255).mean(axis=(1, 2, 3)))
    assert scores["psnr"]["mean"] == pytest.approx(expected.mean(), abs=1e-3)
    assert "evaluate: reconstructing 5 examples\n" in capsys.readouterr().err
    assert "5 evenly spaced examples for the PSNR" in (output / "report.html").read_text()


def test_a_model_of_images_of_another_shape_is_refused(model_dir, tmp_path, monkeypatch):
    from pipeline.prepare.stage import prepare
    from tests.conftest import tiny_prepare_config

    np.savez(tmp_path / "data.npz", images=noise(60, 14, 56))
    prepare(
        tiny_prepare_config(dataset=str(tmp_path / "data.npz")),
        output=tmp_path / "examples",
    )
    monkeypatch.setattr(tensorflow_setup, "load", lambda: pytest.fail("TensorFlow was loaded"))
    with pytest.raises(ConfigError, match=r"trained on 28x28x1 images, but .* are 14x56x1"):
        evaluate(
            EvaluateConfig(),
            examples=tmp_path / "examples",
            model=model_dir,
            output=tmp_path / "evaluation",
        )
    assert not (tmp_path / "evaluation").exists()


def test_a_conditional_model_is_evaluated_given_the_labels(examples_dir, example_set, tmp_path):
    from pipeline.prepare.stage import prepare
    from tests.conftest import tiny_prepare_config, tiny_train_config
    from trainer import stage

    model_path, output = tmp_path / "model", tmp_path / "evaluation"
    stage.run("mlp", tiny_train_config(condition="label"), examples=examples_dir, output=model_path)
    config = EvaluateConfig(draws=1, importance_samples=3, limit_examples=60)
    evaluate(config, examples=examples_dir, model=model_path, output=output)
    scores = json.loads((output / "metrics.json").read_text())
    assert scores["protocol"]["given"] == "label"
    model, test = vae.load(model_path / "model.keras"), example_set.read("test")
    assert model.architecture.classes == 10
    labels = test.labels[:60]
    elbo = estimate_elbo(model, test.images[:60], labels, seed=0)
    assert scores["elbo"]["mean"] == pytest.approx(elbo.elbo.mean(), rel=1e-6)
    estimates = log_likelihoods(model, test.images[:60], labels, samples=3, seed=0)
    assert scores["nll"]["mean"] == pytest.approx(-np.concatenate(list(estimates)).mean(), rel=1e-6)
    assert len(list((output / "figures").iterdir())) == len(FIGURES)
    np.savez(tmp_path / "data.npz", images=noise(60, 28, 28), labels=np.arange(60) % 3)
    others = tmp_path / "others"
    prepare(tiny_prepare_config(dataset=str(tmp_path / "data.npz")), output=others)
    with pytest.raises(ConfigError, match=r"labels of 10 classes, but .*others has 3; evaluate"):
        evaluate(config, examples=others, model=model_path, output=tmp_path / "none")
    assert not (tmp_path / "none").exists()
