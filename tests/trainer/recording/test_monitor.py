import json

import pytest
from etils import epath

from components.base.errors import WorkError
from trainer.recording.monitor import EpochMetrics, Monitor, read_metrics

LOSSES = {"loss": 3.0, "rate": 1.0, "distortion": 2.0}
HELDOUT = {"loss": 4.0, "rate": 1.5, "distortion": 2.5}


class Clock:
    """Seconds that pass when told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def monitor(directory, *, resumed_epochs: int = 0, epochs: int = 50, **kwargs) -> Monitor:
    """A run of 10 steps and 100 examples an epoch."""
    return Monitor(
        epath.Path(directory),
        num_examples=100,
        epochs=epochs,
        met=100 * resumed_epochs,
        resumed_step=10 * resumed_epochs,
        **kwargs,
    )


def row(epoch: int) -> EpochMetrics:
    """Held-out metrics every second epoch, and a rate that is no short decimal."""
    heldout = HELDOUT if epoch % 2 else None
    return EpochMetrics(epoch, 10 * epoch, LOSSES, heldout, learning_rate=1e-3 / epoch, beta=0.5)


def record(directory, epochs: range) -> list[EpochMetrics]:
    made = [row(epoch) for epoch in epochs]
    with monitor(directory, resumed_epochs=epochs.start - 1) as m:
        for each in made:
            m.on_epoch(each)
    return made


def file_of(directory) -> epath.Path:
    return epath.Path(directory) / "metrics.jsonl"


def test_metrics_are_one_line_an_epoch_and_read_back(tmp_path):
    made = record(tmp_path, range(1, 4))
    assert read_metrics(file_of(tmp_path)) == made
    lines = [json.loads(line) for line in file_of(tmp_path).read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    names = {"epoch", "step", "train", "heldout", "learning_rate", "beta"}
    assert all(line.keys() == names for line in lines)


def test_there_are_none_before_the_first_run(tmp_path):
    assert read_metrics(file_of(tmp_path)) == []


def test_a_resumed_run_drops_what_came_after_its_checkpoint_and_ends_with_the_same_bytes(tmp_path):
    made = record(tmp_path, range(1, 4))
    whole = file_of(tmp_path).read_bytes()
    with monitor(tmp_path, resumed_epochs=2) as m:
        assert m.history == made[:2]
        assert read_metrics(file_of(tmp_path)) == made[:2]
        m.on_epoch(row(3))
    assert file_of(tmp_path).read_bytes() == whole


def test_a_run_resumed_within_an_epoch_keeps_those_before(tmp_path):
    made = record(tmp_path, range(1, 4))
    args = {"num_examples": 100, "epochs": 5, "met": 240, "resumed_step": 24}
    with Monitor(epath.Path(tmp_path), **args) as m:
        assert m.history == made[:2]


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (lambda lines: [lines[0], lines[1][:30]], 2),
        (lambda lines: [b"\xff" + lines[0], *lines[1:]], 1),
        (lambda lines: [lines[0], lines[2]], 2),
        (lambda lines: [lines[0], b"[1, 2]", lines[2]], 2),
        (lambda lines: [lines[0].replace(b"step", b"stop")], 1),
        (lambda lines: [*lines, b""], 4),
    ],
)
def test_a_damaged_file_is_told_in_one_line(tmp_path, damage, line):
    record(tmp_path, range(1, 4))
    file = file_of(tmp_path)
    file.write_bytes(b"\n".join([*damage(file.read_bytes().splitlines()), b""]))
    with pytest.raises(WorkError, match=rf"metrics\.jsonl is damaged: line {line} is") as caught:
        monitor(tmp_path, resumed_epochs=3)
    assert "\n" not in str(caught.value)


def test_epochs_that_the_file_lost_are_no_history(tmp_path):
    record(tmp_path, range(1, 3))
    before = file_of(tmp_path).read_bytes()
    with pytest.raises(WorkError, match="rows are missing of the epochs up to step 30"):
        monitor(tmp_path, resumed_epochs=3)
    assert file_of(tmp_path).read_bytes() == before


def test_a_log_has_a_line_a_minute_and_the_last(tmp_path, capsys):
    clock = Clock()
    with monitor(tmp_path, clock=clock) as m:
        for epoch in range(1, 8):
            m.on_steps(epoch=epoch, step=10 * epoch, examples=100, losses=LOSSES)
            clock.now += 25
            m.on_epoch(row(epoch))
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split(",")[0] for line in err.splitlines()] == [
        "train: epoch 3/50",
        "train: epoch 6/50",
        "train: epoch 7/50",
    ]


def test_a_line_of_a_log(tmp_path, capsys):
    train = {"loss": 262.312, "rate": 6.18, "distortion": 256.13}
    heldout = {"loss": 263.024, "rate": 6.2, "distortion": 256.8}
    with monitor(tmp_path, epochs=50) as m:
        m.on_epoch(EpochMetrics(1, 6480, train, heldout, learning_rate=1e-3, beta=1.0))
    assert capsys.readouterr().err == (
        "train: epoch 1/50, step 6,480, loss 262.31 (rate 6.2, distortion 256.1), "
        "held-out ELBO -263.02 nats\n"
    )


def test_the_last_epoch_is_told_once(tmp_path, capsys):
    clock = Clock()
    with monitor(tmp_path, clock=clock) as m:
        clock.now = 60
        m.on_epoch(row(1))
    assert capsys.readouterr().err.count("\n") == 1
    with monitor(tmp_path, resumed_epochs=1, clock=clock):
        pass
    assert capsys.readouterr().err == ""


def test_a_long_epoch_is_told_of_while_it_runs(tmp_path, capsys):
    clock = Clock()
    with monitor(tmp_path, clock=clock) as m:
        clock.now = 50
        m.on_epoch(row(1))
        for step in range(11, 19):
            clock.now += 25
            m.on_steps(epoch=2, step=step, examples=10, losses=LOSSES)
    # At 125 s and 200 s: a minute after the first epoch's end, and after the line before.
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        f"train: epoch 2/50, step {step}, loss 3.00 (rate 1.0, distortion 2.0) nats"
        for step in (13, 16)
    ]


class Terminal:
    """Standard error as a terminal of 200 columns has it."""

    encoding = "utf-8"

    def __init__(self):
        self.text = ""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass


def test_a_terminal_has_a_bar_and_no_lines(tmp_path, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("COLUMNS", "200")
    clock = Clock()
    with monitor(tmp_path, clock=clock, epochs=4) as m:
        for epoch in (1, 2):
            m.on_steps(epoch=epoch, step=10 * epoch, examples=100, losses=LOSSES)
            clock.now += 100
            m.on_epoch(row(epoch))
        m.on_steps(epoch=3, step=25, examples=50, losses=LOSSES)
    assert "train:" not in terminal.text
    last = terminal.text.split("\r")[-1]
    # The held-out ELBO is the last one measured, two epochs ago.
    for part in ("epoch 3/4", "250/400", "images/s", "loss=3.00", "distortion=2.00", "elbo=-4.00"):
        assert part in last, part
