import contextlib

import pytest
from etils import epath

from components.base.errors import WorkError
from tests.terminal import Terminal
from trainer.recording.epoch_metrics import EpochMetrics, digest, read_metrics
from trainer.recording.monitor import Monitor

LOSSES = {"loss": 264.384, "rate": 6.18, "distortion": 258.204}
HELDOUT = {"loss": 265.024, "rate": 6.2, "distortion": 258.824}


class Clock:
    """A clock that the tests set."""

    def __init__(self):
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def monitor(directory, *, resumed_epochs: int = 0, epochs: int = 50, **kwargs) -> Monitor:
    """The monitor of a run with 10 steps and 100 examples per epoch."""
    return Monitor(
        epath.Path(directory),
        num_examples=100,
        epochs=epochs,
        examples_done=100 * resumed_epochs,
        resumed_step=10 * resumed_epochs,
        **kwargs,
    )


def row(epoch: int) -> EpochMetrics:
    """Metrics of an epoch; every second one has held-out metrics."""
    heldout = HELDOUT if epoch % 2 else None
    return EpochMetrics(epoch, 10 * epoch, LOSSES, heldout, learning_rate=1e-3 / epoch, beta=0.5)


def record(directory, epochs: range) -> list[EpochMetrics]:
    """Records some epochs with one monitor, and returns their metrics."""
    rows = [row(epoch) for epoch in epochs]
    with monitor(directory, resumed_epochs=epochs.start - 1) as m:
        for metrics in rows:
            m.record_epoch(metrics)
    return rows


def file_of(directory) -> epath.Path:
    return epath.Path(directory) / "metrics.jsonl"


def test_every_epoch_is_a_row_of_the_file_and_of_the_history(tmp_path):
    with monitor(tmp_path) as m:
        for epoch in (1, 2):
            m.record_epoch(row(epoch))
            expected = [row(n) for n in range(1, epoch + 1)]
            assert m.history == read_metrics(file_of(tmp_path)) == expected


def test_a_resumed_run_drops_rows_after_its_checkpoint_and_ends_with_the_same_bytes(tmp_path):
    rows = record(tmp_path, range(1, 4))
    expected = file_of(tmp_path).read_bytes()
    with monitor(tmp_path, resumed_epochs=2) as m:
        assert m.history == rows[:2]
        assert read_metrics(file_of(tmp_path)) == rows[:2]
        m.record_epoch(row(3))
    assert file_of(tmp_path).read_bytes() == expected


def test_a_run_resumed_within_an_epoch_keeps_the_rows_of_earlier_epochs(tmp_path):
    rows = record(tmp_path, range(1, 4))
    settings = {"num_examples": 100, "epochs": 5, "examples_done": 240, "resumed_step": 24}
    with Monitor(epath.Path(tmp_path), **settings) as m:
        assert m.history == rows[:2]


def test_a_damaged_file_is_an_error_and_is_left_alone(tmp_path):
    record(tmp_path, range(1, 4))
    file = file_of(tmp_path)
    damaged = file.read_bytes()[:-5]
    file.write_bytes(damaged)
    with pytest.raises(WorkError, match=r"metrics\.jsonl is damaged: line 3 is"):
        monitor(tmp_path, resumed_epochs=3)
    assert file.read_bytes() == damaged


def test_missing_rows_are_an_error(tmp_path):
    record(tmp_path, range(1, 3))
    before = file_of(tmp_path).read_bytes()
    with pytest.raises(WorkError, match="rows of epochs up to step 30 are missing"):
        monitor(tmp_path, resumed_epochs=3)
    assert file_of(tmp_path).read_bytes() == before


def test_rows_that_the_checkpoint_does_not_continue_are_an_error(tmp_path):
    rows = record(tmp_path, range(1, 4))
    with monitor(tmp_path, resumed_epochs=3, resumed_metrics=digest(rows)) as m:
        assert m.history == rows
    file = file_of(tmp_path)
    changed = file.read_bytes().replace(b"264.384", b"264.385", 1)
    file.write_bytes(changed)
    with pytest.raises(WorkError, match=r"metrics\.jsonl is damaged: its rows .* of step 30 cont"):
        monitor(tmp_path, resumed_epochs=3, resumed_metrics=digest(rows))
    assert file.read_bytes() == changed


def test_a_log_has_a_line_for_epochs_a_minute_apart_and_for_the_last_one(tmp_path, capsys):
    clock = Clock()
    with monitor(tmp_path, clock=clock) as m:
        for epoch in range(1, 8):
            m.show_progress(epoch=epoch, step=10 * epoch, num_examples=100, losses=LOSSES)
            clock.now += 25
            m.record_epoch(row(epoch))
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split(",")[0] for line in err.splitlines()] == [
        "train: epoch 3/50",
        "train: epoch 6/50",
        "train: epoch 7/50",
    ]


def test_the_line_of_an_epoch_has_its_losses_and_the_held_out_elbo(tmp_path, capsys):
    with monitor(tmp_path, epochs=50) as m:
        m.record_epoch(EpochMetrics(1, 6480, LOSSES, HELDOUT, learning_rate=1e-3, beta=1.0))
    assert capsys.readouterr().err == (
        "train: epoch 1/50, step 6,480, loss 264.38 (rate 6.2, distortion 258.2), "
        "held-out ELBO -265.02 nats\n"
    )


def test_a_negative_estimate_near_0_has_no_sign(tmp_path, capsys):
    losses = {"loss": -0.002, "rate": -0.04, "distortion": 0.038}
    with monitor(tmp_path) as m:
        m.record_epoch(EpochMetrics(1, 10, losses, None, learning_rate=1e-3, beta=1.0))
    assert "loss 0.00 (rate 0.0, distortion 0.0) nats" in capsys.readouterr().err


def test_a_long_epoch_has_lines_of_the_losses_so_far(tmp_path, capsys):
    clock = Clock()
    with monitor(tmp_path, clock=clock) as m:
        clock.now = 50
        m.record_epoch(row(1))
        for step in range(11, 19):
            clock.now += 25
            m.show_progress(epoch=2, step=step, num_examples=10, losses=LOSSES)
    # At 125 s and 200 s: a minute after the end of the first epoch, and after the line before.
    assert capsys.readouterr().err.splitlines() == [
        f"train: epoch 2/50, step {step}, loss 264.38 (rate 6.2, distortion 258.2) nats"
        for step in (13, 16)
    ]


def test_a_terminal_has_a_bar_of_80_columns_and_no_lines(tmp_path):
    terminal = Terminal(columns=80)
    with contextlib.redirect_stderr(terminal.stream), monitor(tmp_path, epochs=40) as m:
        for epoch in range(1, 13):
            m.show_progress(epoch=epoch, step=10 * epoch, num_examples=100, losses=LOSSES)
            m.record_epoch(row(epoch))
        m.show_progress(epoch=13, step=125, num_examples=50, losses=LOSSES)
    states = terminal.close()
    assert max(map(len, states)) <= 80
    assert not any("train:" in state for state in states)
    # The held-out ELBO is the last one measured, at the end of epoch 11.
    for part in ("epoch 13/40", " 31%|", "images/s", "loss 264.38", "ELBO -265.02"):
        assert part in states[-1], part
