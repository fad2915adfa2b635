import numpy as np

from trainer.recording.profiling import NoProfiler
from trainer.recording.recorder import NoRecorder, Position


def test_a_new_run_starts_at_step_0_with_empty_sums():
    start = Position.start()
    assert start.step == 0
    assert start.epoch_sums.dtype == np.float64
    np.testing.assert_array_equal(start.epoch_sums, [0.0, 0.0])


def test_no_recorder_decides_nothing_and_writes_nothing(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    recorder = NoRecorder()
    position, means = Position(10, np.zeros(2)), np.array([1.0, 2.0])
    recorder.record_steps(10, num_examples=100, means=means)
    recorder.record_epoch(position, {"step": np.array(10)}, means=means)
    recorder.save_checkpoint(position, {"step": np.array(10)})
    assert recorder.position.step == 0
    assert isinstance(recorder.profiler, NoProfiler)
    assert not recorder.should_stop_early()
    assert not recorder.needs_checkpoint(is_stopping=True)
    assert recorder.last_saved_step() is None
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")
