import contextlib

from components.base.progress import Progress
from tests.terminal import Terminal


class Clock:
    """A clock that the test sets, in seconds."""

    def __init__(self):
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_log_has_one_line_per_minute_and_the_last_milestone(capsys):
    clock = Clock()
    with Progress(100, clock=clock) as progress:
        for number in range(1, 6):
            clock.now += 25
            progress.advance(10, label="reading", figures={}, line=f"step {number}")
        progress.milestone("the first part is done")
        progress.milestone("the second part is done")
    assert capsys.readouterr().err.splitlines() == ["step 3", "the second part is done"]


def test_a_milestone_delays_the_next_line(capsys):
    clock = Clock()
    with Progress(100, clock=clock) as progress:
        clock.now = 50
        progress.milestone("a milestone")
        for second in (70, 100, 115):
            clock.now = second
            progress.advance(1, label="reading", figures={}, line=f"second {second}")
    assert capsys.readouterr().err.splitlines() == ["second 115"]


def test_a_log_has_no_line_for_short_work_without_a_milestone(capsys):
    with Progress(10) as progress:
        progress.advance(10, label="reading", figures={}, line="read")
    assert capsys.readouterr().err == ""


def test_a_terminal_shows_a_bar_in_80_columns_and_no_log_lines():
    terminal = Terminal(columns=80)
    with (
        contextlib.redirect_stderr(terminal.stream),
        Progress(3_000_000, done=1_000_000) as progress,
    ):
        progress.advance(
            500_000,
            label="epoch 12/50",
            figures={"loss": "264.38", "held-out ELBO": "-265.02"},
            line="a line",
        )
        progress.milestone("a milestone")
    states = terminal.close()
    last = states[-1]
    assert max(map(len, states)) <= 80
    assert not any("a line" in state or "milestone" in state for state in states)
    for part in ("epoch 12/50", " 50%|", "images/s", "loss 264.38", "held-out ELBO -265.02"):
        assert part in last, part


def test_the_last_state_is_shown_even_if_it_follows_immediately():
    terminal = Terminal()
    with contextlib.redirect_stderr(terminal.stream), Progress(3, unit="shards") as progress:
        for number in range(3):
            progress.advance(1, label="writing", figures={"kept": str(number)}, line="")
    last = terminal.close()[-1]
    assert "100%" in last
    assert "kept 2" in last
