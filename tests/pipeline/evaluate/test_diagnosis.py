"""Faults that are planted in whole models, and found; a healthy model has no findings."""

import dataclasses
import json
import shutil

import numpy as np

from components.base.manifest import load_artifact
from components.metrics.mean import Mean
from components.model import vae
from pipeline.evaluate import diagnosis
from pipeline.evaluate.config import EvaluateConfig
from pipeline.evaluate.measures.measure import Subject
from pipeline.evaluate.stage import evaluate
from tests.conftest import tiny_train_config
from tests.manifests import edit_manifest
from trainer import stage
from trainer.recording.epoch_metrics import read_metrics

# Enough to learn something in a second.
HEALTHY = {"widths": (32,), "epochs": 20, "learning_rate": 0.01, "optimizer": "adam"}


def train(examples_dir, output, **fields):
    config = tiny_train_config(**HEALTHY | fields)
    stage.run("mlp", config, examples=examples_dir, output=output)
    return output


def test_a_healthy_model_has_no_findings(examples_dir, tmp_path):
    model = train(examples_dir, tmp_path / "model")
    output = tmp_path / "evaluation"
    evaluate(EvaluateConfig(), examples=examples_dir, model=model, output=output)
    assert json.loads((output / "metrics.json").read_text())["doctor"] == []


def test_a_collapsed_model_fails_a_strict_evaluation_after_it_is_published(
    examples_dir, tmp_path, cli
):
    model = train(examples_dir, tmp_path / "model", beta=1e4, keep="last")
    output = tmp_path / "evaluation"
    command = (
        "pipeline", "evaluate", "--examples", examples_dir, "--model", model, "--output", output,
    )  # fmt: skip
    done = cli(*command, "--strict", "--gate", "rate<=1")
    assert done.returncode == 1, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"error: {output}: ")
    assert "the latents carry no information (posterior collapse): try a smaller beta" in last
    assert "gate" not in last
    (finding,) = (
        finding
        for finding in json.loads((output / "metrics.json").read_text())["doctor"]
        if finding["code"] == "posterior_collapse"
    )
    assert finding["severity"] == "error"
    assert f"warning: {finding['text']}\n" in done.stderr
    # The evaluation is up to date, and is judged again.
    again = cli(*command, "--gate", "rate >= 1")
    assert again.returncode == 1
    assert "up to date" in again.stderr
    assert "error: " in again.stderr
    assert "gate rate>=1 failed: rate is " in again.stderr.splitlines()[-1]
    assert cli(*command).returncode == 0


def test_the_numbers_of_the_evaluation_are_put_to_every_rule(
    examples_dir, example_set, model_dir, tmp_path
):
    """Each fault is planted in the numbers of a model of two latents."""
    evaluation = tmp_path / "evaluation"
    evaluate(EvaluateConfig(draws=1), examples=examples_dir, model=model_dir, output=evaluation)
    copy = tmp_path / "model"
    shutil.copytree(model_dir, copy)
    settings = {"warmup_steps": 10**6, "warmup_share": 1.0, "beta": 4.0}
    edit_manifest(copy, lambda manifest: manifest["config"].update(settings))
    rows = read_metrics(model_dir / "metrics.jsonl")
    examples = example_set.read("test")
    examples = dataclasses.replace(examples, images=np.full_like(examples.images, 7))
    tables = {"test": sorted((evaluation / "embeddings").glob("*-test-*"))}
    subject = Subject(
        vae.load(model_dir / "model.keras"),
        example_set,
        "test",
        examples,
        tables,
        config=EvaluateConfig(),
        directory=tmp_path,
    )
    lost = dict.fromkeys(("elbo", "distortion"), Mean(-1e5, 1.0)) | {"rate": Mean(0.0, 0.0)}
    falling = {"loss": 0.0, "rate": 0.0, "distortion": 0.0}
    epochs = [rows[0], dataclasses.replace(rows[1], train=falling)]
    codes = [
        each.code
        for each in diagnosis.findings(
            subject, lost, trained=load_artifact(copy, stage="train"), epochs=epochs
        )
    ]
    assert codes == [
        "constant_inputs",
        "warmup_unfinished",
        "beta_unfinished",
        "underfitting",
        "no_better_than_constant",
        "posterior_collapse",
        "overfitting",
    ]
