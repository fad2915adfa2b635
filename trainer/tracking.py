"""Adds published models to the store of an experiment tracker.

The tracker mirrors the published artifacts: settings, metrics of the epochs, and the model with its
digest; scores and figures of an evaluation. It is written to after the work, so it cannot change
the result. Existing entries are not written again, so running a command that is up to date is
enough to add a model.
"""

import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from etils import epath

from components.base import console
from components.base.errors import WorkError, one_line
from components.base.manifest import MANIFEST, Artifact, load_artifact
from components.model.registry import MODEL_FILE
from trainer import trackers
from trainer.recording.epoch_metrics import EPOCH_METRICS_FILE, EpochMetrics, read_metrics

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_EXPERIMENT = "vae_pipeline"
# Tags with the fingerprints of the artifacts in a run of the tracker.
_MODEL_TAG, _EVALUATION_TAG = "vae_pipeline.model", "vae_pipeline.evaluation"
# MLflow's convention, and its environment variable that names another store.
_STORE, _STORE_VARIABLE = "mlruns", "MLFLOW_TRACKING_URI"
# The largest numbers of metrics and parameters that MLflow takes in one call, and the longest text.
_BATCH_METRICS, _BATCH_PARAMETERS, _TEXT = 1000, 100, 500


def track(
    tracker: str,
    directory: epath.PathLike,
    *,
    evaluation: Artifact | None = None,
    scores: Mapping[str, float] | None = None,
) -> None:
    """Adds a model, and its evaluation, to the store of a tracker, unless they are there.

    Args:
      tracker: one of `trackers.TRACKERS`; `none` does nothing.
      directory: directory of a trained model.
      evaluation: the artifact of the evaluate stage; None for none.
      scores: the means of its metrics, by name.

    Raises:
      WorkError: a file is damaged, or the store refuses the model. The artifacts are as they were.
    """
    if tracker == trackers.NONE:
        return
    model = load_artifact(directory, stage="train")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # Versions from 3.7 on write directories only if they are told to.
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    store = os.environ.get(_STORE_VARIABLE) or epath.Path(_STORE).absolute().as_uri()
    try:
        client = MlflowClient(tracking_uri=store)
        run = _run(client, model)
        if evaluation is not None and run.data.tags.get(_EVALUATION_TAG) != evaluation.fingerprint:
            _add_evaluation(client, run, evaluation, scores or {})
    except MlflowException as error:
        raise WorkError(
            f"the tracker's store {store} does not take {model.path}, which is published: "
            f"{one_line(error, length=200)}; correct that and run the same command again"
        ) from None
    console.say(f"track: run {run.info.run_id} in {store}")


def _run(client: "MlflowClient", model: Artifact) -> "Run":
    """The tracker's run of a model, which is added if it is not there."""
    experiment = client.get_experiment_by_name(_EXPERIMENT)
    identifier = experiment.experiment_id if experiment else client.create_experiment(_EXPERIMENT)
    found = client.search_runs([identifier], f"tags.`{_MODEL_TAG}` = '{model.fingerprint}'")
    for run in found:
        if run.info.status == "FINISHED":
            return run
        client.delete_run(run.info.run_id)  # A process was killed while it wrote this run.
    name = f"{model.path.parent.name}/{model.path.name}"
    run = client.create_run(identifier, run_name=name, tags={_MODEL_TAG: model.fingerprint})
    _add_model(client, run.info.run_id, model)
    client.set_terminated(run.info.run_id)
    return client.get_run(run.info.run_id)


def _add_model(client: "MlflowClient", run_id: str, model: Artifact) -> None:
    from mlflow.entities import Metric, Param, RunTag

    manifest = model.manifest
    parameters = [Param(name, _text(value)) for name, value in manifest.config.items()]
    for first in range(0, len(parameters), _BATCH_PARAMETERS):
        client.log_batch(run_id, params=parameters[first : first + _BATCH_PARAMETERS])
    now = int(1000 * time.time())
    metrics = [
        Metric(name, value, now, epoch.epoch)
        for epoch in read_metrics(model.verified(EPOCH_METRICS_FILE))
        for name, value in _values(epoch)
    ]
    for first in range(0, len(metrics), _BATCH_METRICS):
        client.log_batch(run_id, metrics=metrics[first : first + _BATCH_METRICS])
    tags = {f"{MODEL_FILE}.sha256": manifest.outputs[MODEL_FILE].sha256}
    tags |= {f"version.{name}": version for name, version in manifest.versions.items()}
    if manifest.notes:
        tags["mlflow.note.content"] = "\n\n".join(map(console.visible, manifest.notes))
    client.log_batch(run_id, tags=[RunTag(name, _text(value)) for name, value in tags.items()])
    _add_files(client, run_id, model, "model", (MODEL_FILE, EPOCH_METRICS_FILE))


def _add_evaluation(
    client: "MlflowClient", run: "Run", evaluation: Artifact, scores: Mapping[str, float]
) -> None:
    from mlflow.entities import Metric

    now = int(1000 * time.time())
    metrics = [Metric(f"evaluation/{name}", value, now, 0) for name, value in scores.items()]
    client.log_batch(run.info.run_id, metrics=metrics)
    names = [
        name
        for name in evaluation.manifest.outputs
        if name.startswith("figures/") or name in ("report.html", "metrics.json")
    ]
    _add_files(client, run.info.run_id, evaluation, "evaluation", names)
    # Last, so that the next call adds the rest if this process is killed before.
    client.set_tag(run.info.run_id, _EVALUATION_TAG, evaluation.fingerprint)


def _add_files(
    client: "MlflowClient", run_id: str, artifact: Artifact, folder: str, names: Any
) -> None:
    """Adds the manifest and some outputs of an artifact, which may be remote."""
    paths = {name: artifact.verified(name) for name in names}
    paths[MANIFEST] = artifact.path / MANIFEST
    with tempfile.TemporaryDirectory(prefix="vae-") as scratch:
        for name, path in paths.items():
            copy = epath.Path(scratch, name)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
        client.log_artifacts(run_id, scratch, folder)


def _values(epoch: EpochMetrics) -> Iterator[tuple[str, float]]:
    """The metrics of an epoch with their names in the tracker, in nats per image."""
    yield from ((f"train/{name}", value) for name, value in epoch.train.items())
    yield from ((f"heldout/{name}", value) for name, value in (epoch.heldout or {}).items())
    yield "learning_rate", epoch.learning_rate
    yield "beta", epoch.beta


def _text(value: Any) -> str:
    text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return console.visible(text)[:_TEXT]
