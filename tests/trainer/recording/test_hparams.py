import dataclasses
import json
from pathlib import Path

from etils import epath
from tensorboard.plugins.hparams.hparams_plugin import HParamsPlugin

from tests.tensorboards import json_response, opened
from trainer.recording.epoch_metrics import EpochMetrics
from trainer.recording.hparams import HParamsRow
from trainer.recording.tensorboard import TensorBoard

LOSSES = {"loss": 3.0, "rate": 1.0, "distortion": 2.0}
KEPT = EpochMetrics(2, 20, LOSSES, LOSSES | {"loss": 4.0}, learning_rate=0.5, beta=1.0)


def rows(logdir: Path) -> dict[str, dict]:
    """The rows of the table, by the path of the run: its settings, metrics and status."""
    request = {
        "startIndex": 0,
        "sliceSize": 100,
        "allowedStatuses": ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_RUNNING"],
    }
    plugin = opened(HParamsPlugin, logdir)
    groups = json_response(plugin, "/session_groups", request=json.dumps(request))["sessionGroups"]
    return {
        session["name"]: {
            "settings": group["hparams"],
            "status": session.get("status"),
            "metrics": {
                (each["name"].get("group", ""), each["name"]["tag"]): each["value"]
                for each in session.get("metricValues", [])
            },
        }
        for group in groups
        for session in group["sessions"]
    }


def row(directory: Path, **settings) -> HParamsRow:
    return HParamsRow(epath.Path(directory), settings)


def test_each_run_is_a_row_with_its_settings_and_the_metrics_of_its_model(tmp_path):
    row(tmp_path / "a/tensorboard", latents=2, widths=(8, 4), prior="x\n").finish(KEPT)
    unmeasured = dataclasses.replace(KEPT, heldout=None)
    row(tmp_path / "b/tensorboard", latents=3, binary=True, replicas=None).finish(unmeasured)
    first, second = (rows(tmp_path)[f"{name}/tensorboard"] for name in "ab")
    assert first["settings"] == {"latents": 2, "widths": "8,4", "prior": "x\\n"}
    assert second["settings"] == {"latents": 3, "binary": True, "replicas": "none"}
    assert first["status"] == second["status"] == "STATUS_SUCCESS"
    assert first["metrics"] == {
        ("", "published/loss"): 4,
        ("", "published/rate"): 1,
        ("", "published/distortion"): 2,
        ("", "published/elbo"): -4,
        ("", "published/epoch"): 2,
    }
    assert second["metrics"][("", "published/loss")] == 3
    assert ("", "published/elbo") not in second["metrics"]


def test_the_curves_below_the_directory_are_metrics_of_the_row(tmp_path):
    row(tmp_path / "tensorboard", latents=2)
    board = TensorBoard(epath.Path(tmp_path / "tensorboard"), resumed_step=0)
    for step in (10, 20):
        board.write(step, train=LOSSES, heldout={"loss": float(step)}, pictures=None)
    board.close()
    (found,) = rows(tmp_path).values()
    assert found.get("status") != "STATUS_SUCCESS"
    # The last values.
    assert found["metrics"][("heldout", "loss")] == 20
    assert found["metrics"][("train", "loss/rate")] == 1


def test_a_run_that_goes_on_with_other_settings_has_one_row_of_the_new_ones(tmp_path):
    row(tmp_path / "tensorboard", epochs=2).finish(KEPT)
    row(tmp_path / "tensorboard", epochs=5)
    (found,) = rows(tmp_path).values()
    assert found["settings"] == {"epochs": 5}
    assert found["metrics"] == {}


def test_a_trained_model_is_a_row(model_dir):
    (found,) = rows(model_dir).values()
    settings = found["settings"]
    assert (settings["preset"], settings["dataset"]) == ("mlp", "synthetic_garments")
    assert (settings["epochs"], settings["widths"]) == (2, "16")
    assert found["status"] == "STATUS_SUCCESS"
    assert found["metrics"][("", "published/elbo")] < 0
