import functools
from pathlib import Path

import numpy as np
import pytest
from etils import epath
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from components.base.errors import WorkError
from tests.conftest import tiny_run
from trainer import build
from trainer.config import RunOptions
from trainer.recording.chief_recorder import ChiefRecorder, evaluation_weights
from trainer.recording.epoch_metrics import EPOCH_METRICS_FILE, read_metrics
from trainer.recording.heldout import HeldoutEvaluation
from trainer.recording.profiling import NoProfiler, TraceProfiler
from trainer.recording.recorder import Position

# Noisy images with a bright square in the middle.
RNG = np.random.default_rng(0)
IMAGES = np.clip(RNG.normal(120, 10, (60, 6, 6, 1)), 0, 255).astype(np.uint8)
IMAGES[:, 2:4, 2:4] += 90
HELDOUT = IMAGES[40:]
STEPS = 4  # Steps per epoch.


@functools.cache
def run_of(**fields) -> build.TrainingRun:
    """A run of 20 epochs. The tests do not train it; they make up its states."""
    return tiny_run(IMAGES[:40], batch_size=10, **({"epochs": 20} | fields))


def state(run: build.TrainingRun, quality: float, epoch: int) -> dict[str, np.ndarray]:
    """A training state whose ELBO is the higher, the nearer `quality` is to 1.

    The decoder's last bias determines the image; at quality 1 it is the mean image. If the run
    keeps moving averages, these have the quality, and the weights themselves decode to noise.
    """
    arrays = run.loop.state_arrays()
    mean = IMAGES.mean(axis=0).ravel() / 255
    biases = (quality * np.log(mean / (1 - mean))).astype(np.float32)
    last = max(name for name in arrays if name.startswith("weights/"))
    arrays[last] = np.full_like(biases, 30 * epoch) if run.config.ema_decay else biases
    if run.config.ema_decay:
        arrays[max(name for name in arrays if name.startswith("averages/"))] = biases
    return arrays | {name: np.array(STEPS * epoch) for name in ("step", "updates")}


@functools.cache
def heldout() -> HeldoutEvaluation:
    """An evaluation of the weights that it is given; all runs can share it."""
    return HeldoutEvaluation(run_of().model, HELDOUT, seed=0)


def open_recorder(
    run: build.TrainingRun,
    directory: Path,
    *,
    clock=lambda: 0.0,
    has_heldout: bool = True,
    profile: int = 0,
) -> ChiefRecorder:
    return ChiefRecorder(
        run,
        epath.Path(directory),
        heldout=heldout() if has_heldout else None,
        options=RunOptions(checkpoint_seconds=60, profile=profile),
        fingerprint="a run",
        clock=clock,
    )


def record_epochs(
    recorder: ChiefRecorder, run: build.TrainingRun, qualities: list[float]
) -> list[bool]:
    """Records epochs that end with models of some qualities; whether to stop after each."""
    stops = []
    for quality in qualities:
        epoch = len(recorder.history) + 1
        position = Position(STEPS * epoch, np.zeros(2))
        recorder.record_epoch(position, state(run, quality, epoch), means=np.array([2.0, 30.0]))
        stops.append(recorder.should_stop_early())
    return stops


def heldout_losses(recorder: ChiefRecorder) -> list[float]:
    return [row.heldout["loss"] for row in recorder.history]


def assert_same(weights: list[np.ndarray], others: list[np.ndarray]) -> None:
    for one, other in zip(weights, others, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_higher_quality_gives_a_higher_elbo(tmp_path):
    with open_recorder(run_of(), tmp_path) as recorder:
        record_epochs(recorder, run_of(), [0.0, 0.3, 0.6, 0.9])
        assert heldout_losses(recorder) == sorted(heldout_losses(recorder), reverse=True)
        assert len(set(heldout_losses(recorder))) == 4


@pytest.mark.parametrize(
    ("patience", "qualities", "stops_at_the_end"),
    [
        (1, [0.1, 0.2, 0.3, 0.2], True),
        (2, [0.1, 0.5, 0.3, 0.6, 0.4, 0.5], True),
        (2, [0.5, 0.1, 0.5], True),  # An equally good model is not a better one.
        (3, [0.5, 0.4, 0.3, 0.2], True),
        (0, [0.5, 0.4, 0.3, 0.2], False),
    ],
)
def test_a_run_stops_patience_epochs_after_the_best(
    tmp_path, patience, qualities, stops_at_the_end
):
    run = run_of(patience=patience)
    with open_recorder(run, tmp_path) as recorder:
        assert not recorder.should_stop_early()
        *before, last = record_epochs(recorder, run, qualities)
        assert not any(before)
        assert last == stops_at_the_end


def test_patience_counts_epochs_without_an_evaluation(tmp_path):
    run = run_of(patience=3, eval_every=2)
    with open_recorder(run, tmp_path) as recorder:
        # The second, fourth and sixth epoch are evaluated; the fourth is the best.
        stops = record_epochs(recorder, run, [0.9, 0.5, 0.9, 0.6, 0.9, 0.1, 0.9])
        assert stops == [False] * 6 + [True]
        assert [row.heldout is not None for row in recorder.history] == [False, True] * 3 + [False]


def test_without_held_out_examples_a_run_never_stops_early(tmp_path):
    run = run_of(patience=1)
    with open_recorder(run, tmp_path, has_heldout=False) as recorder:
        assert record_epochs(recorder, run, [0.5, 0.1, 0.1]) == [False] * 3
        row, weights = recorder.select_model(state(run, 0.4, 3))
        assert (row.epoch, row.heldout) == (3, None)
        assert_same(weights, evaluation_weights(state(run, 0.4, 3)))


@pytest.mark.parametrize("ema_decay", [0.0, 0.99])
@pytest.mark.parametrize(("keep", "epoch", "quality"), [("best", 2, 0.8), ("last", 4, 0.3)])
def test_the_best_or_the_last_model_is_selected(tmp_path, ema_decay, keep, epoch, quality):
    run = run_of(keep=keep, ema_decay=ema_decay)
    with open_recorder(run, tmp_path) as recorder:
        record_epochs(recorder, run, [0.2, 0.8, 0.5, 0.3])
        row, weights = recorder.select_model(state(run, 0.3, 4))
    assert row == recorder.history[epoch - 1]
    kind = "averages/" if ema_decay else "weights/"
    expected = [a for name, a in state(run, quality, epoch).items() if name.startswith(kind)]
    assert len(expected) == len(run.model.get_weights())
    assert_same(weights, expected)
    # The averages are what was evaluated, so the published model has the recorded ELBO.
    losses, _ = heldout().measure(weights)
    assert losses == row.heldout


def remove(path: Path) -> None:
    path.unlink()


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def replace(path: Path) -> None:
    """Replaces a checkpoint by that of another step."""
    path.write_bytes(max(path.parent.glob("step-*.ckpt")).read_bytes())


@pytest.mark.parametrize("lose", [remove, damage, replace])
def test_if_the_best_checkpoint_is_lost_the_last_model_is_selected_with_a_warning(
    tmp_path, lose, capsys
):
    run = run_of()
    with open_recorder(run, tmp_path) as recorder:
        record_epochs(recorder, run, [0.2, 0.8, 0.5])
        lose(tmp_path / "checkpoints/best.ckpt")
        row, weights = recorder.select_model(state(run, 0.5, 3))
    assert row.epoch == 3
    assert_same(weights, evaluation_weights(state(run, 0.5, 3)))
    best, last = (-loss for loss in (heldout_losses(recorder)[1], heldout_losses(recorder)[2]))
    warning = (
        f"warning: the checkpoint of the best held-out ELBO, {best:.2f} nats in epoch 2, is lost; "
        f"publishing the model of the last epoch, 3, with {last:.2f} nats\n"
    )
    assert warning in capsys.readouterr().err


@pytest.mark.parametrize("keep", ["best", "last"])
@pytest.mark.parametrize("lose", [remove, damage])
def test_a_damaged_best_checkpoint_is_never_published(tmp_path, lose, keep, capsys):
    run = run_of(keep=keep)
    with open_recorder(run, tmp_path) as recorder:
        record_epochs(recorder, run, [0.2, 0.8, 0.5])
        lose(tmp_path / "checkpoints/best.ckpt")
        recorder.select_model(state(run, 0.5, 3))
        recorder.delete_unpublished_checkpoints()
    assert "publishing the model of the last epoch, 3, with" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-000000012.ckpt"]


@pytest.mark.parametrize("lose", [remove, damage, replace])
def test_if_the_last_model_is_the_best_its_checkpoint_is_written_again(tmp_path, lose, capsys):
    run = run_of()
    with open_recorder(run, tmp_path) as recorder:
        record_epochs(recorder, run, [0.2, 0.8, 0.9])
        best = tmp_path / "checkpoints/best.ckpt"
        before = best.read_bytes()
        lose(best)
        if lose is replace:
            best.write_bytes(min(best.parent.glob("step-*.ckpt")).read_bytes())
        assert not best.exists() or best.read_bytes() != before
        row, _ = recorder.select_model(state(run, 0.9, 3))
    assert row.epoch == 3
    assert best.read_bytes() == before
    assert "lost" not in capsys.readouterr().err


def test_a_stray_checkpoint_is_not_resumed_from(tmp_path):
    run = run_of()
    with open_recorder(run, tmp_path) as recorder:
        record_epochs(recorder, run, [0.2])
    own = tmp_path / f"checkpoints/step-{STEPS:09d}.ckpt"
    stray = own.with_name("step-999999999.ckpt")
    stray.write_bytes(own.read_bytes())
    with pytest.raises(WorkError, match=r"step-999999999\.ckpt is that of step 4, which its name"):
        open_recorder(run, tmp_path)
    with pytest.raises(WorkError, match="is that of another model: its slots/0000/0"):
        stray.unlink()
        open_recorder(run_of(widths=(8,)), tmp_path)


def test_the_next_process_resumes_from_the_last_checkpoint(tmp_path, capsys):
    run = run_of.__wrapped__(patience=2, ema_decay=0.9)
    with open_recorder(run, tmp_path) as recorder:
        assert (recorder.position.step, recorder.history) == (0, [])
        record_epochs(recorder, run, [0.2, 0.8, 0.5])
        history = recorder.history
        arrays = state(run, 0.6, 3) | {"step": np.array(STEPS * 3 + 1)}
        recorder.save_checkpoint(Position(STEPS * 3 + 1, np.array([0.1, -0.0])), arrays)
    run = run_of.__wrapped__(patience=2, ema_decay=0.9)
    with open_recorder(run, tmp_path) as recorder:
        assert recorder.position.step == STEPS * 3 + 1
        assert recorder.position.epoch_sums.tobytes() == np.array([0.1, -0.0]).tobytes()
        assert recorder.history == history
        assert "train: resuming from step 13\n" in capsys.readouterr().err
        for name, array in run.loop.state_arrays().items():
            np.testing.assert_array_equal(array, arrays[name], err_msg=name)
        # The epochs of the earlier process count for the patience.
        assert not recorder.should_stop_early()
        assert record_epochs(recorder, run, [0.7]) == [True]


def test_changed_metrics_are_not_resumed_from(tmp_path):
    run = run_of()
    with open_recorder(run, tmp_path) as recorder:
        record_epochs(recorder, run, [0.2, 0.8])
    file = tmp_path / EPOCH_METRICS_FILE
    file.write_text(file.read_text().replace('"distortion": 30.0', '"distortion": 31.0', 1))
    with pytest.raises(WorkError, match=r"metrics\.jsonl is damaged: its rows are not those"):
        open_recorder(run, tmp_path)


def test_checkpoints_within_an_epoch_are_due_after_an_interval(tmp_path):
    times = iter([0.0, 59.0, 60.0, 200.0, 259.0, 260.0])
    run = run_of()
    with open_recorder(run, tmp_path, clock=lambda: next(times)) as recorder:
        assert [recorder.needs_checkpoint(is_stopping=False) for _ in range(2)] == [False, True]
        recorder.save_checkpoint(Position(1, np.zeros(2)), state(run, 0.1, 0))  # At 200.
        assert [recorder.needs_checkpoint(is_stopping=False) for _ in range(2)] == [False, True]


def test_a_row_has_the_learning_rate_and_beta_of_its_last_step(tmp_path):
    run = run_of(beta=4.0, beta_schedule="linear", schedule="cosine", learning_rate=0.1)
    with open_recorder(run, tmp_path) as recorder:
        record_epochs(recorder, run, [0.1, 0.2, 0.3])
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert rows == recorder.history
    last_step = 3 * STEPS - 1
    beta = 4.0 * last_step / (10 * STEPS)  # Rising over the first half of 20 epochs.
    assert rows[2].beta == pytest.approx(beta, rel=1e-6)
    expected = {"loss": 30.0 + beta * 2.0, "rate": 2.0, "distortion": 30.0}
    assert rows[2].train == pytest.approx(expected, rel=1e-6)
    cosine = 0.1 * 0.5 * (1 + np.cos(np.pi * last_step / (20 * STEPS)))
    assert rows[2].learning_rate == pytest.approx(cosine, rel=1e-6)
    # The held-out loss is the negative ELBO for every beta.
    heldout = rows[2].heldout
    assert heldout["loss"] == heldout["rate"] + heldout["distortion"]


def test_about_ten_epochs_have_pictures(tmp_path):
    run = run_of(epochs=25)
    with open_recorder(run, tmp_path) as recorder:
        record_epochs(recorder, run, [0.5] * 25)
    everything = {"images": 0, "tensors": 0}
    events = EventAccumulator(str(tmp_path / "tensorboard/heldout"), size_guidance=everything)
    events.Reload()
    steps = [image.step for image in events.Images("pictures/samples")]
    assert steps == [STEPS * epoch for epoch in (1, 3, 6, 9, 12, 15, 18, 21, 24, 25)]
    assert len(events.Tensors("loss/elbo")) == 25


def test_a_run_that_is_stopping_needs_a_checkpoint(tmp_path):
    run = run_of()
    with open_recorder(run, tmp_path) as recorder:
        assert recorder.last_saved_step() is None
        assert recorder.needs_checkpoint(is_stopping=True)
        recorder.save_checkpoint(Position(3, np.zeros(2)), state(run, 0.1, 0))
        assert recorder.last_saved_step() == 3


def test_only_the_newest_checkpoint_and_the_best_are_published(tmp_path):
    run = run_of()
    with open_recorder(run, tmp_path) as recorder:
        record_epochs(recorder, run, [0.2, 0.8, 0.5])
        recorder.delete_unpublished_checkpoints()
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["best.ckpt", f"step-{3 * STEPS:09d}.ckpt"]


@pytest.mark.parametrize(("profile", "kind"), [(0, NoProfiler), (5, TraceProfiler)])
def test_steps_are_profiled_on_request(tmp_path, profile, kind):
    with open_recorder(run_of(), tmp_path, profile=profile) as recorder:
        assert type(recorder.profiler) is kind
