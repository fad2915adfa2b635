from pathlib import Path

import pytest
import tensorflow as tf
from etils import epath

from trainer.recording.profiling import Profile


def train(directory, *, steps: int, calls: list[int]) -> None:
    """Calls of so many steps, each an operation that a trace can tell from the others."""
    with Profile(epath.Path(directory), steps=steps) as profile:
        for index, num_steps in enumerate(calls):
            with profile.call(num_steps), tf.profiler.experimental.Trace(f"call_number_{index}"):
                tf.linalg.matmul(tf.ones((8, 8)), tf.ones((8, 8))).numpy()


def traced(directory) -> set[int]:
    """The calls in the one trace there is."""
    [file] = Path(directory).glob("plugins/profile/*/*.xplane.pb")
    content = file.read_bytes()
    return {index for index in range(9) if f"call_number_{index}".encode() in content}


@pytest.mark.parametrize(
    ("steps", "expected"), [(1, {1}), (10, {1}), (11, {1, 2}), (30, {1, 2, 3})]
)
def test_so_many_steps_are_traced_after_the_first_call(tmp_path, steps, expected):
    train(tmp_path, steps=steps, calls=[10] * 5)
    assert traced(tmp_path) == expected


def test_a_run_that_ends_early_leaves_what_it_has(tmp_path):
    train(tmp_path, steps=1000, calls=[10, 10, 3])
    assert traced(tmp_path) == {1, 2}


def test_a_run_that_fails_leaves_what_it_has_and_no_session(tmp_path):
    with (
        pytest.raises(ZeroDivisionError),
        Profile(epath.Path(tmp_path), steps=30) as profile,
    ):
        for _ in range(2):
            with profile.call(10):
                pass
        with profile.call(10), tf.profiler.experimental.Trace("call_number_2"):
            raise ZeroDivisionError
    assert traced(tmp_path) == {2}
    train(tmp_path / "next", steps=1, calls=[1, 1])
    assert traced(tmp_path / "next") == {1}


def test_no_steps_are_no_trace(tmp_path, capfd):
    train(tmp_path, steps=0, calls=[10, 10, 10])
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_a_run_of_one_call_says_that_there_is_no_trace(tmp_path, capsys):
    train(tmp_path, steps=5, calls=[10])
    assert list(tmp_path.iterdir()) == []
    assert "no profile was written" in capsys.readouterr().err


def test_nothing_is_said_but_where_it_lies(tmp_path, capfd):
    train(tmp_path, steps=1, calls=[1, 1, 1])
    line = f"train: the profile lies in {tmp_path}/plugins/profile\n"
    assert capfd.readouterr() == ("", line)
