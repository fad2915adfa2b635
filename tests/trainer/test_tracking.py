import shutil

import pytest

from components.base.errors import WorkError
from components.base.manifest import load_artifact
from tests.manifests import edit_manifest
from trainer import stage, tracking
from trainer.config import RunOptions
from trainer.recording.epoch_metrics import read_metrics


@pytest.fixture
def mlflow_client(tmp_path, monkeypatch):
    """A client of the store in an empty working directory."""
    pytest.importorskip("mlflow", reason="mlflow is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=(tmp_path / "mlruns").as_uri())


def runs_in(client) -> list:
    experiment = client.get_experiment_by_name("vae_pipeline")
    return client.search_runs([experiment.experiment_id])


def test_no_tracker_leaves_no_files(model_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tracking.track("none", model_dir)
    assert list(tmp_path.iterdir()) == []


def test_a_model_is_added_once_with_its_settings_metrics_and_digest(
    mlflow_client, model_dir, tmp_path
):
    for _ in range(2):
        tracking.track("mlflow", model_dir)
    (run,) = runs_in(mlflow_client)
    model = load_artifact(model_dir, stage="train")
    assert run.info.status == "FINISHED"
    assert run.data.params["widths"] == "16"
    assert run.data.params.keys() == model.manifest.config.keys()
    digest = model.manifest.outputs["model.keras"].sha256
    assert run.data.tags["model.keras.sha256"] == digest
    history = mlflow_client.get_metric_history(run.info.run_id, "heldout/loss")
    rows = read_metrics(model_dir / "metrics.jsonl")
    assert {each.step: each.value for each in history} == pytest.approx(
        {row.epoch: row.heldout["loss"] for row in rows}
    )
    (tmp_path / "copy").mkdir()
    copy = mlflow_client.download_artifacts(
        run.info.run_id, "model/model.keras", str(tmp_path / "copy")
    )
    with open(copy, "rb") as file:
        assert file.read() == (model_dir / "model.keras").read_bytes()


def test_a_run_that_a_killed_process_left_is_written_again(mlflow_client, model_dir):
    tracking.track("mlflow", model_dir)
    (run,) = runs_in(mlflow_client)
    mlflow_client.update_run(run.info.run_id, status="RUNNING")
    tracking.track("mlflow", model_dir)
    (again,) = runs_in(mlflow_client)
    assert (again.info.status, again.info.run_id != run.info.run_id) == ("FINISHED", True)


def test_an_evaluation_is_added_to_the_run_of_its_model(
    mlflow_client, examples_dir, model_dir, tmp_path
):
    from pipeline.evaluate.config import EvaluateConfig
    from pipeline.evaluate.stage import evaluate

    evaluation = evaluate(
        EvaluateConfig(draws=1), examples=examples_dir, model=model_dir, output=tmp_path / "scored"
    )
    tracking.track("mlflow", model_dir)
    for scores in ({"elbo": -123.5}, {"elbo": 0.0}):  # The second time, all is there.
        tracking.track("mlflow", model_dir, evaluation=evaluation, scores=scores)
    (run,) = runs_in(mlflow_client)
    assert run.data.metrics["evaluation/elbo"] == -123.5
    figures = mlflow_client.list_artifacts(run.info.run_id, "evaluation/figures")
    assert "evaluation/figures/samples.png" in [file.path for file in figures]


def test_the_trainer_adds_a_model_that_is_up_to_date(mlflow_client, examples_dir, model_dir):
    from tests.conftest import tiny_train_config

    options = RunOptions(tracker="mlflow")
    stage.run("mlp", tiny_train_config(), examples=examples_dir, output=model_dir, options=options)
    assert len(runs_in(mlflow_client)) == 1


def test_a_store_that_cannot_be_written_is_one_line(
    mlflow_client, model_dir, tmp_path, monkeypatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "no-such-scheme://store")
    with pytest.raises(WorkError, match=r"does not take .*, which is published: ") as error:
        tracking.track("mlflow", model_dir)
    assert "\n" not in str(error.value)
    damaged = tmp_path / "damaged"
    shutil.copytree(model_dir, damaged)
    edit_manifest(damaged, lambda manifest: manifest["outputs"]["metrics.jsonl"].update(bytes=1))
    with pytest.raises(WorkError, match="its manifest says 1"):
        tracking.track("mlflow", damaged)
