import functools
from pathlib import Path

import numpy as np
import pytest
from etils import epath
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.conftest import tiny_run
from trainer import build
from trainer.config import RunOptions
from trainer.recording.heldout import HeldoutEvaluation
from trainer.recording.monitor import read_metrics
from trainer.recording.recorder import Position, Recorder, kept_weights

# Bright in the middle, and with something to tell apart.
RNG = np.random.default_rng(0)
IMAGES = np.clip(RNG.normal(120, 10, (60, 6, 6, 1)), 0, 255).astype(np.uint8)
IMAGES[:, 2:4, 2:4] += 90
HELDOUT = IMAGES[40:]
STEPS = 4  # of an epoch


@functools.cache
def run_of(**fields) -> build.TrainingRun:
    """Nothing is trained: it is what the chief is told that counts."""
    return tiny_run(IMAGES[:40], batch_size=10, **({"epochs": 20} | fields))


def state(run: build.TrainingRun, quality: float, epoch: int) -> dict[str, np.ndarray]:
    """A state whose ELBO is the higher, the nearer its quality is to 1.

    The decoder's last biases are what an image is drawn from; at 1 they are those of the mean
    image. Where there are averages, they have it, and the weights themselves draw noise.
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
    """For all: it scores the weights that it is given, whatever they are averages of."""
    return HeldoutEvaluation(run_of().model, HELDOUT, seed=0)


def open_chief(
    run: build.TrainingRun, directory: Path, *, clock=lambda: 0.0, scored: bool = True
) -> Recorder:
    return Recorder(
        run,
        epath.Path(directory),
        heldout=heldout() if scored else None,
        options=RunOptions(checkpoint_seconds=60),
        clock=clock,
    )


def tell(chief: Recorder, run: build.TrainingRun, qualities: list[float]) -> list[bool]:
    """Epochs that end with such models; whether there was patience after each."""
    patience = []
    for quality in qualities:
        epoch = len(chief.history) + 1
        position = Position(STEPS * epoch, np.zeros(2))
        chief.on_epoch(position, state(run, quality, epoch), means=np.array([2.0, 30.0]))
        patience.append(chief.has_patience())
    return patience


def measured(chief: Recorder) -> list[float]:
    return [row.heldout["loss"] for row in chief.history]


def assert_same(weights: list[np.ndarray], others: list[np.ndarray]) -> None:
    for one, other in zip(weights, others, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_qualities_are_what_they_are_called(tmp_path):
    with open_chief(run_of(), tmp_path) as chief:
        tell(chief, run_of(), [0.0, 0.3, 0.6, 0.9])
        assert measured(chief) == sorted(measured(chief), reverse=True)
        assert len(set(measured(chief))) == 4


@pytest.mark.parametrize(
    ("patience", "qualities", "expected"),
    [
        (1, [0.1, 0.2, 0.3, 0.2], "+++-"),
        (2, [0.1, 0.5, 0.3, 0.6, 0.4, 0.5], "+++++-"),
        (2, [0.5, 0.1, 0.5], "++-"),  # As good is no better.
        (3, [0.5, 0.4, 0.3, 0.2], "+++-"),
        (0, [0.5, 0.4, 0.3, 0.2], "++++"),
    ],
)
def test_patience_ends_so_many_epochs_after_the_best(tmp_path, patience, qualities, expected):
    run = run_of(patience=patience)
    with open_chief(run, tmp_path) as chief:
        assert chief.has_patience()
        assert tell(chief, run, qualities) == [sign == "+" for sign in expected]


def test_patience_counts_epochs_that_were_not_measured(tmp_path):
    run = run_of(patience=3, eval_every=2)
    with open_chief(run, tmp_path) as chief:
        # Of these the second, the fourth and the sixth are measured.
        patience = tell(chief, run, [0.9, 0.5, 0.9, 0.6, 0.9, 0.1, 0.9])
        assert patience == [True] * 6 + [False]
        assert [row.heldout is not None for row in chief.history] == [False, True] * 3 + [False]


def test_without_held_out_examples_patience_has_no_end(tmp_path):
    run = run_of(patience=1)
    with open_chief(run, tmp_path, scored=False) as chief:
        assert tell(chief, run, [0.5, 0.1, 0.1]) == [True] * 3
        row, weights = chief.kept(state(run, 0.4, 3))
        assert (row.epoch, row.heldout) == (3, None)
        assert_same(weights, kept_weights(state(run, 0.4, 3)))


@pytest.mark.parametrize("ema_decay", [0.0, 0.99])
@pytest.mark.parametrize(("keep", "epoch", "quality"), [("best", 2, 0.8), ("last", 4, 0.3)])
def test_the_model_kept_is_the_one_that_is_asked_for(tmp_path, ema_decay, keep, epoch, quality):
    run = run_of(keep=keep, ema_decay=ema_decay)
    with open_chief(run, tmp_path) as chief:
        tell(chief, run, [0.2, 0.8, 0.5, 0.3])
        row, weights = chief.kept(state(run, 0.3, 4))
    assert row == chief.history[epoch - 1]
    kind = "averages/" if ema_decay else "weights/"
    expected = [a for name, a in state(run, quality, epoch).items() if name.startswith(kind)]
    assert len(expected) == len(run.model.get_weights())
    assert_same(weights, expected)
    # Averages are what was measured too, and so its ELBO is the kept model's.
    losses, _ = heldout().measure(weights)
    assert losses == row.heldout


def remove(path: Path) -> None:
    path.unlink()


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def replace(path: Path) -> None:
    """By another step's."""
    path.write_bytes(max(path.parent.glob("step-*.ckpt")).read_bytes())


@pytest.mark.parametrize("lose", [remove, damage, replace])
def test_with_its_best_checkpoint_lost_a_run_keeps_the_last_and_says_so(tmp_path, lose, capsys):
    run = run_of()
    with open_chief(run, tmp_path) as chief:
        tell(chief, run, [0.2, 0.8, 0.5])
        lose(tmp_path / "checkpoints/best.ckpt")
        row, weights = chief.kept(state(run, 0.5, 3))
    assert row.epoch == 3
    assert_same(weights, kept_weights(state(run, 0.5, 3)))
    warning = "warning: the checkpoint of the best held-out ELBO is lost; keeping the last model\n"
    assert warning in capsys.readouterr().err


def test_the_last_model_needs_no_checkpoint_of_the_best(tmp_path, capsys):
    run = run_of()
    with open_chief(run, tmp_path) as chief:
        tell(chief, run, [0.2, 0.8])
        (tmp_path / "checkpoints/best.ckpt").unlink()
        row, _ = chief.kept(state(run, 0.8, 2))
    assert row.epoch == 2
    assert "lost" not in capsys.readouterr().err


def test_the_next_process_goes_on_where_the_last_was(tmp_path, capsys):
    run = run_of.__wrapped__(patience=2, ema_decay=0.9)
    with open_chief(run, tmp_path) as chief:
        assert (chief.position.step, chief.history) == (0, [])
        tell(chief, run, [0.2, 0.8, 0.5])
        history = chief.history
        arrays = state(run, 0.6, 3) | {"step": np.array(STEPS * 3 + 1)}
        chief.save(Position(STEPS * 3 + 1, np.array([0.1, -0.0])), arrays)
    run = run_of.__wrapped__(patience=2, ema_decay=0.9)
    with open_chief(run, tmp_path) as chief:
        assert chief.position.step == STEPS * 3 + 1
        assert chief.position.epoch_sums.tobytes() == np.array([0.1, -0.0]).tobytes()
        assert chief.history == history
        assert "train: going on from step 13\n" in capsys.readouterr().err
        for name, array in run.loop.state_arrays().items():
            np.testing.assert_array_equal(array, arrays[name], err_msg=name)
        # One more epoch without a better one was one too many.
        assert chief.has_patience()
        assert tell(chief, run, [0.7]) == [False]


def test_checkpoints_within_an_epoch_are_due_by_the_clock(tmp_path):
    times = iter([0.0, 59.0, 60.0, 200.0, 259.0, 260.0])
    run = run_of()
    with open_chief(run, tmp_path, clock=lambda: next(times)) as chief:
        assert [chief.is_checkpoint_due() for _ in range(2)] == [False, True]
        chief.save(Position(1, np.zeros(2)), state(run, 0.1, 0))  # At 200.
        assert [chief.is_checkpoint_due() for _ in range(2)] == [False, True]


def test_a_row_has_the_losses_the_rate_and_beta_of_its_last_step(tmp_path):
    run = run_of(beta=4.0, beta_schedule="linear", schedule="cosine", learning_rate=0.1)
    with open_chief(run, tmp_path) as chief:
        tell(chief, run, [0.1, 0.2, 0.3])
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert rows == chief.history
    last_step = 3 * STEPS - 1
    beta = 4.0 * last_step / (10 * STEPS)  # Up over the first half of 20 epochs.
    assert rows[2].beta == pytest.approx(beta, rel=1e-6)
    expected = {"loss": 30.0 + beta * 2.0, "rate": 2.0, "distortion": 30.0}
    assert rows[2].train == pytest.approx(expected, rel=1e-6)
    cosine = 0.1 * 0.5 * (1 + np.cos(np.pi * last_step / (20 * STEPS)))
    assert rows[2].learning_rate == pytest.approx(cosine, rel=1e-6)
    # The held-out loss is the negative ELBO, whatever beta is.
    heldout = rows[2].heldout
    assert heldout["loss"] == heldout["rate"] + heldout["distortion"]


def test_pictures_are_drawn_some_ten_times(tmp_path):
    run = run_of(epochs=25)
    with open_chief(run, tmp_path) as chief:
        tell(chief, run, [0.5] * 25)
    everything = {"images": 0, "tensors": 0}
    events = EventAccumulator(str(tmp_path / "tensorboard/heldout"), size_guidance=everything)
    events.Reload()
    steps = [image.step for image in events.Images("samples")]
    assert steps == [STEPS * epoch for epoch in (1, 3, 6, 9, 12, 15, 18, 21, 24, 25)]
    assert len(events.Tensors("elbo")) == 25
