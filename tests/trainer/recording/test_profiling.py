from pathlib import Path

import pytest
import tensorflow as tf
from etils import epath

from trainer.recording.profiling import NoProfiler, Profiler, TraceProfiler


def make_calls(profiler: Profiler, num_steps: list[int]) -> None:
    """Calls of steps; each runs an operation with its own name in the trace."""
    with profiler:
        for index, steps in enumerate(num_steps):
            with profiler.call(steps), tf.profiler.experimental.Trace(f"call_number_{index}"):
                tf.linalg.matmul(tf.ones((8, 8)), tf.ones((8, 8))).numpy()


def profiler(directory, *, steps: int) -> TraceProfiler:
    return TraceProfiler(epath.Path(directory), steps=steps)


def traced(directory) -> set[int]:
    """The numbers of the calls in the only trace."""
    [file] = Path(directory).glob("plugins/profile/*/*.xplane.pb")
    content = file.read_bytes()
    return {index for index in range(9) if f"call_number_{index}".encode() in content}


@pytest.mark.parametrize(
    ("steps", "expected"), [(1, {1}), (10, {1}), (11, {1, 2}), (30, {1, 2, 3})]
)
def test_whole_calls_are_traced_after_the_first(tmp_path, steps, expected):
    make_calls(profiler(tmp_path, steps=steps), [10] * 5)
    assert traced(tmp_path) == expected


def test_a_run_that_ends_early_keeps_its_trace(tmp_path):
    make_calls(profiler(tmp_path, steps=1000), [10, 10, 3])
    assert traced(tmp_path) == {1, 2}


def test_a_run_that_fails_keeps_its_trace_and_ends_the_session(tmp_path):
    with pytest.raises(ZeroDivisionError), profiler(tmp_path, steps=30) as tracer:
        for _ in range(2):
            with tracer.call(10):
                pass
        with tracer.call(10), tf.profiler.experimental.Trace("call_number_2"):
            raise ZeroDivisionError
    assert traced(tmp_path) == {2}
    # Another session can start.
    make_calls(profiler(tmp_path / "next", steps=1), [1, 1])
    assert traced(tmp_path / "next") == {1}


def test_a_run_of_one_call_warns_that_there_is_no_trace(tmp_path, capsys):
    make_calls(profiler(tmp_path, steps=5), [10])
    assert list(tmp_path.iterdir()) == []
    assert "no profile was written" in capsys.readouterr().err


def test_the_only_message_is_where_the_trace_is(tmp_path, capfd):
    make_calls(profiler(tmp_path, steps=1), [1, 1, 1])
    line = f"train: wrote the profile to {tmp_path}/plugins/profile\n"
    assert capfd.readouterr() == ("", line)


def test_no_profiler_records_and_says_nothing(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    make_calls(NoProfiler(), [10, 10, 10])
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")
