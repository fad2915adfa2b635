import io
import os
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from etils.epath import backend

from components.base.errors import WorkError
from tests.test_remote import URL, Bucket
from trainer.recording.checkpoints import Checkpoint, Checkpoints

DIGEST_BYTES = 32


def checkpoint(step: int) -> Checkpoint:
    """A state with the names that a loop gives, and some that the file itself uses."""
    rng = np.random.default_rng(step)
    arrays = {
        "weights/encoder/dense/kernel": rng.normal(size=(3, 2)).astype(np.float32),
        "weights/decoder/dense/bias": np.zeros(0, np.float32),
        "slots/0/weights/encoder/dense/kernel": rng.normal(size=(3, 2)).astype(np.float32),
        "step": np.array(step),
        "epoch_sums": np.float32([7]),
        "file": np.array(2, np.int32),
        "loss_scale": np.array(2, np.float32),
    }
    return Checkpoint(step, arrays, np.array([1.5, step]))


def assert_same(one: Checkpoint | None, other: Checkpoint) -> None:
    assert one is not None
    assert one.step == other.step
    np.testing.assert_array_equal(one.epoch_sums, other.epoch_sums)
    assert list(one.arrays) == list(other.arrays)
    for name, array in one.arrays.items():
        np.testing.assert_array_equal(array, other.arrays[name], strict=True)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)


def test_the_newest_is_read_back_and_the_last_two_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert checkpoints.latest() is None
    for step in (5, 10, 20):
        checkpoints.save(checkpoint(step))
    assert_same(checkpoints.latest(), checkpoint(20))
    assert names(tmp_path / "checkpoints") == ["step-000000010.ckpt", "step-000000020.ckpt"]


@pytest.mark.parametrize("damage", [cut, flip, empty])
def test_a_damaged_newest_falls_back_to_the_one_before(tmp_path, damage, capsys):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(checkpoint(1))
    checkpoints.save(checkpoint(2))
    damage(tmp_path / "step-000000002.ckpt")
    assert_same(checkpoints.latest(), checkpoint(1))
    said = capsys.readouterr().err
    assert said.endswith("step-000000002.ckpt is damaged; using the one before\n")
    assert_same(checkpoints.latest(), checkpoint(1))
    assert capsys.readouterr().err == ""  # Said once.


def test_with_both_damaged_the_run_starts_anew_and_says_so(tmp_path, capsys):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(checkpoint(step))
        cut(tmp_path / f"step-00000000{step}.ckpt")
    assert checkpoints.latest() is None
    newest, before = capsys.readouterr().err.splitlines()
    assert newest.endswith("step-000000002.ckpt is damaged; using the one before")
    assert before.endswith("1.ckpt is damaged; none is left, so starting from step 0")


def test_every_flipped_byte_and_every_cut_is_found(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(checkpoint(1))
    path = tmp_path / "step-000000001.ckpt"
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        flipped = bytearray(whole)
        flipped[place] ^= 1
        for damaged in (flipped, whole[:place]):
            path.write_bytes(damaged)
            assert checkpoints.latest() is None


def test_the_same_state_gives_the_same_bytes(tmp_path):
    for name in ("one", "other"):
        Checkpoints(tmp_path / name).save(checkpoint(3), is_best=True)
    files = [path.read_bytes() for path in tmp_path.glob("*/*.ckpt")]
    assert len(files) == 4
    assert len(set(files)) == 1
    with zipfile.ZipFile(io.BytesIO(files[0][DIGEST_BYTES:])) as archive:
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_the_best_stays_until_there_is_a_better(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.best() is None
    checkpoints.save(checkpoint(1))
    assert checkpoints.best() is None
    for step in (2, 3, 4, 5):
        checkpoints.save(checkpoint(step), is_best=step == 2)
    assert_same(checkpoints.best(), checkpoint(2))
    assert_same(checkpoints.latest(), checkpoint(5))
    assert names(tmp_path) == ["best.ckpt", "step-000000004.ckpt", "step-000000005.ckpt"]
    checkpoints.save(checkpoint(6), is_best=True)
    assert_same(checkpoints.best(), checkpoint(6))


@pytest.mark.parametrize("damage", [cut, flip, empty])
def test_a_damaged_best_is_none_and_leaves_the_newest(tmp_path, damage, capsys):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(checkpoint(1), is_best=True)
    damage(tmp_path / "best.ckpt")
    assert checkpoints.best() is None
    assert "best.ckpt is damaged" in capsys.readouterr().err
    assert_same(checkpoints.latest(), checkpoint(1))


def test_a_run_stopped_between_its_best_and_its_step_writes_the_same_again(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(checkpoint(1), is_best=True)
    in_the_way = tmp_path / "step-000000002.ckpt"
    in_the_way.mkdir()
    with pytest.raises(OSError, match="directory"):
        checkpoints.save(checkpoint(2), is_best=True)
    in_the_way.rmdir()
    best = (tmp_path / "best.ckpt").read_bytes()
    # What was met before is met again: the best is of a step that is still to come.
    assert_same(checkpoints.latest(), checkpoint(1))
    assert_same(checkpoints.best(), checkpoint(2))
    checkpoints.save(checkpoint(2), is_best=True)
    assert best == (tmp_path / "best.ckpt").read_bytes() == in_the_way.read_bytes()
    assert names(tmp_path) == ["best.ckpt", "step-000000001.ckpt", "step-000000002.ckpt"]


def test_what_a_killed_run_did_not_drop_is_dropped_by_the_next(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(checkpoint(1))
    first = (tmp_path / "step-000000001.ckpt").read_bytes()
    checkpoints.save(checkpoint(2))
    checkpoints.save(checkpoint(3))
    (tmp_path / "step-000000001.ckpt").write_bytes(first)
    assert_same(checkpoints.latest(), checkpoint(3))
    assert names(tmp_path) == ["step-000000002.ckpt", "step-000000003.ckpt"]


@pytest.mark.parametrize("is_best", [False, True])
def test_a_disk_that_keeps_other_bytes_costs_no_older_checkpoint(tmp_path, monkeypatch, is_best):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(checkpoint(step), is_best=True)
    sync = os.fsync

    def damage(descriptor: int) -> None:
        sync(descriptor)
        os.pwrite(descriptor, b"?", 1000)

    monkeypatch.setattr(os, "fsync", damage)
    with pytest.raises(WorkError, match=r"\.ckpt reads back otherwise .* disk is failing") as error:
        checkpoints.save(checkpoint(3), is_best=is_best)
    assert "\n" not in str(error.value)
    assert names(tmp_path) == ["best.ckpt", "step-000000001.ckpt", "step-000000002.ckpt"]
    assert_same(checkpoints.latest(), checkpoint(2))
    assert_same(checkpoints.best(), checkpoint(2))


def test_a_checkpoint_that_cannot_be_read_is_no_damaged_one(tmp_path):
    """It may be whole, so it is neither dropped nor passed over."""
    (tmp_path / "step-000000001.ckpt").mkdir()
    (tmp_path / "best.ckpt").mkdir()
    for read in (Checkpoints(tmp_path).latest, Checkpoints(tmp_path).best):
        with pytest.raises(IsADirectoryError) as error:
            read()
        assert error.value.filename is not None  # The command's one line names it.
    assert names(tmp_path) == ["best.ckpt", "step-000000001.ckpt"]


def test_a_large_state_is_held_once_more_to_save_and_not_to_read(tmp_path):
    arrays = {f"weights/{index}": np.full(1 << 20, index, np.float32) for index in range(32)}
    checkpoints = Checkpoints(tmp_path)
    state_bytes = sum(array.nbytes for array in arrays.values())
    tracemalloc.start()
    try:
        checkpoints.save(Checkpoint(1, arrays, np.zeros(2)))
        assert tracemalloc.get_traced_memory()[1] < 1.3 * state_bytes
        tracemalloc.reset_peak()
        assert checkpoints.latest() is not None
        assert tracemalloc.get_traced_memory()[1] < 1.3 * state_bytes
    finally:
        tracemalloc.stop()


def test_checkpoints_at_a_remote_place(tmp_path, monkeypatch):
    """Through TensorFlow's file system, as epath reaches gs://."""
    (tmp_path / "bucket").mkdir()
    monkeypatch.setattr(backend, "tf_backend", Bucket(tmp_path / "bucket"))
    checkpoints = Checkpoints(f"{URL}/checkpoints")
    for step in (1, 2, 3):
        checkpoints.save(checkpoint(step), is_best=step == 2)
    flip(tmp_path / "bucket/checkpoints/step-000000003.ckpt")
    assert_same(checkpoints.latest(), checkpoint(2))
    assert_same(checkpoints.best(), checkpoint(2))
