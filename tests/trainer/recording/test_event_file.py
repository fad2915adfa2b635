import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from etils import epath
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.util import tensor_util

from trainer.recording.event_file import EventFile


def opened(directory: Path, *, resumed_step: int = 0, name: str | None = None) -> EventFile:
    return EventFile(epath.Path(directory), resumed_step=resumed_step, name=name)


def points(directory: Path, tag: str = "loss") -> list[tuple[int, float]]:
    """The steps and values of a curve, read by TensorBoard's own code."""
    tensors = EventAccumulator(str(directory)).Reload().Tensors(tag)
    return [(each.step, tensor_util.make_ndarray(each.tensor_proto).item()) for each in tensors]


def test_tensorboard_reads_the_values_at_their_steps(tmp_path):
    file = opened(tmp_path / "run")
    file.write(10, [scalar_pb("loss", 3.0), scalar_pb("rate", 1.0)])
    file.write(20, [scalar_pb("loss", 2.0)])
    file.close()
    assert points(tmp_path / "run") == [(10, 3.0), (20, 2.0)]
    assert points(tmp_path / "run", "rate") == [(10, 1.0)]


@pytest.mark.parametrize(("resumed_step", "expected"), [(0, [(15, 1.0)]), (10, [(10, 0.0)])])
def test_what_an_earlier_process_recorded_after_the_step_is_hidden(
    tmp_path, resumed_step, expected
):
    first = opened(tmp_path, name="1")
    for step in (10, 20):
        first.write(step, [scalar_pb("loss", 0.0)])
    first.close()
    second = opened(tmp_path, resumed_step=resumed_step, name="2")
    second.write(15, [scalar_pb("loss", 1.0)])
    second.close()
    assert points(tmp_path) == sorted({*expected, (15, 1.0)})


def test_a_file_of_a_given_name_is_replaced(tmp_path):
    for value in (1.0, 2.0):
        file = opened(tmp_path, name="x")
        file.write(5, [scalar_pb("loss", value)])
        file.close()
    assert [path.name for path in tmp_path.iterdir()] == ["events.out.tfevents.x"]
    assert points(tmp_path) == [(5, 2.0)]


@contextlib.contextmanager
def full_disk(path: Path, *, more: int) -> Iterator[None]:
    """No file may become larger than a file is, and some bytes more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + more, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_on_a_full_disk_one_warning_is_printed_and_the_training_goes_on(tmp_path, capsys):
    board = opened(tmp_path)
    board.write(10, [scalar_pb("loss", 4.0)])
    (file,) = tmp_path.iterdir()
    with full_disk(file, more=500):
        board.write(20, [scalar_pb(f"curve {number}", 1.0) for number in range(100)])
    board.write(30, [scalar_pb("loss", 3.0)])
    board.close()
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning == (
        f"warning: {file} cannot be written (File too large); the training continues, but "
        "TensorBoard shows only the content of the file"
    )
    # What is in the file is shown.
    assert points(tmp_path) == [(10, 4.0)]


def test_without_a_place_for_the_file_there_is_one_warning(tmp_path, capsys):
    (tmp_path / "board").write_text("a file")
    board = opened(tmp_path / "board/run")
    board.write(10, [scalar_pb("loss", 4.0)])
    board.close()
    (warning,) = capsys.readouterr().err.splitlines()
    assert "cannot be written (Not a directory)" in warning


def test_a_remote_file_appears_when_it_is_closed(object_store, tmp_path):
    file = EventFile(epath.Path("s3://bucket/run"), resumed_step=0, name="1")
    file.write(10, [scalar_pb("loss", 3.0)])
    assert object_store.objects == {}
    file.close()
    ((key, content),) = object_store.objects.items()
    (tmp_path / epath.Path(key).name).write_bytes(content)
    assert points(tmp_path) == [(10, 3.0)]
