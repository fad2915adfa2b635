import dataclasses
import hashlib
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
from trainer.recording.checkpoints import Checkpoint, Checkpoints, RunStates, read

DIGEST_BYTES = 32


def checkpoint(step: int) -> Checkpoint:
    """A state with names like those of a loop, and names that the file format uses itself."""
    rng = np.random.default_rng(step)
    arrays = {
        "weights/0000": rng.normal(size=(3, 2)).astype(np.float32),
        "weights/0001": np.zeros(0, np.float32),
        "slots/0000/0": rng.normal(size=(3, 2)).astype(np.float32),
        "step": np.array(step),
        "epoch_sums": np.float32([7]),
        "file": np.array(2, np.int32),
        "loss_scale": np.array(2, np.float32),
    }
    return Checkpoint(step, arrays, np.array([1.5, step]))


def open_checkpoints(directory, *, run: str = "a run", of: Checkpoint | None = None) -> Checkpoints:
    """The checkpoints of a run whose states have the arrays of a checkpoint."""
    arrays = (of or checkpoint(1)).arrays
    shapes = {name: (array.shape, array.dtype) for name, array in arrays.items()}
    return Checkpoints(directory, RunStates(run, shapes, last_step=50))


def assert_same(actual: Checkpoint | None, expected: Checkpoint) -> None:
    assert actual is not None
    assert actual.step == expected.step
    np.testing.assert_array_equal(actual.epoch_sums, expected.epoch_sums)
    assert list(actual.arrays) == list(expected.arrays)
    for name, array in actual.arrays.items():
        np.testing.assert_array_equal(array, expected.arrays[name], strict=True)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)


def test_the_last_two_checkpoints_are_kept_and_the_newest_is_read_back(tmp_path):
    checkpoints = open_checkpoints(tmp_path / "checkpoints")
    assert checkpoints.latest() is None
    for step in (5, 10, 20):
        checkpoints.save(checkpoint(step))
    assert_same(checkpoints.latest(), checkpoint(20))
    assert names(tmp_path / "checkpoints") == ["step-000000010.ckpt", "step-000000020.ckpt"]


@pytest.mark.parametrize("damage", [truncate, flip, empty])
def test_a_damaged_checkpoint_is_replaced_by_the_one_before(tmp_path, damage, capsys):
    checkpoints = open_checkpoints(tmp_path)
    checkpoints.save(checkpoint(1))
    checkpoints.save(checkpoint(2))
    damage(tmp_path / "step-000000002.ckpt")
    assert_same(checkpoints.latest(), checkpoint(1))
    warning = capsys.readouterr().err
    assert warning.endswith("step-000000002.ckpt is damaged; using the one before\n")
    assert_same(checkpoints.latest(), checkpoint(1))
    assert capsys.readouterr().err == ""  # The warning is not repeated.


def test_if_both_are_damaged_the_run_starts_again_with_a_warning(tmp_path, capsys):
    checkpoints = open_checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(checkpoint(step))
        truncate(tmp_path / f"step-00000000{step}.ckpt")
    assert checkpoints.latest() is None
    newest, before = capsys.readouterr().err.splitlines()
    assert newest.endswith("step-000000002.ckpt is damaged; using the one before")
    assert before.endswith("1.ckpt is damaged; none is left, starting from step 0")


def test_every_changed_byte_and_every_truncation_is_detected(tmp_path):
    checkpoints = open_checkpoints(tmp_path)
    checkpoints.save(checkpoint(1))
    path = tmp_path / "step-000000001.ckpt"
    intact = path.read_bytes()
    for offset in range(0, len(intact), 7):
        flipped = bytearray(intact)
        flipped[offset] ^= 1
        for damaged in (flipped, intact[:offset]):
            path.write_bytes(damaged)
            assert checkpoints.latest() is None


def test_equal_states_give_equal_bytes(tmp_path):
    for name in ("one", "other"):
        open_checkpoints(tmp_path / name).save(checkpoint(3), is_best=True)
    files = [path.read_bytes() for path in tmp_path.glob("*/*.ckpt")]
    assert len(files) == 4
    assert len(set(files)) == 1
    with zipfile.ZipFile(io.BytesIO(files[0][DIGEST_BYTES:])) as archive:
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_the_best_checkpoint_is_kept_until_there_is_a_better_one(tmp_path):
    checkpoints = open_checkpoints(tmp_path)
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


@pytest.mark.parametrize("damage", [truncate, flip, empty])
def test_a_damaged_best_checkpoint_does_not_affect_the_newest(tmp_path, damage, capsys):
    checkpoints = open_checkpoints(tmp_path)
    checkpoints.save(checkpoint(1), is_best=True)
    damage(tmp_path / "best.ckpt")
    assert checkpoints.best() is None
    assert "best.ckpt is damaged" in capsys.readouterr().err
    assert_same(checkpoints.latest(), checkpoint(1))


def test_a_run_killed_between_the_two_writes_repeats_them(tmp_path):
    checkpoints = open_checkpoints(tmp_path)
    checkpoints.save(checkpoint(1), is_best=True)
    obstacle = tmp_path / "step-000000002.ckpt"
    obstacle.mkdir()
    with pytest.raises(OSError, match="directory"):
        checkpoints.save(checkpoint(2), is_best=True)
    obstacle.rmdir()
    best = (tmp_path / "best.ckpt").read_bytes()
    # The run resumes from step 1 and reaches step 2, already saved as the best, again.
    assert_same(checkpoints.latest(), checkpoint(1))
    assert_same(checkpoints.best(), checkpoint(2))
    checkpoints.save(checkpoint(2), is_best=True)
    assert best == (tmp_path / "best.ckpt").read_bytes() == obstacle.read_bytes()
    assert names(tmp_path) == ["best.ckpt", "step-000000001.ckpt", "step-000000002.ckpt"]


def test_checkpoints_that_a_killed_run_did_not_delete_are_deleted_by_the_next(tmp_path):
    checkpoints = open_checkpoints(tmp_path)
    checkpoints.save(checkpoint(1))
    first = (tmp_path / "step-000000001.ckpt").read_bytes()
    checkpoints.save(checkpoint(2))
    checkpoints.save(checkpoint(3))
    (tmp_path / "step-000000001.ckpt").write_bytes(first)
    assert_same(checkpoints.latest(), checkpoint(3))
    assert names(tmp_path) == ["step-000000002.ckpt", "step-000000003.ckpt"]


@pytest.mark.parametrize("is_best", [False, True])
def test_a_failing_disk_is_detected_and_older_checkpoints_are_kept(tmp_path, monkeypatch, is_best):
    checkpoints = open_checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(checkpoint(step), is_best=True)
    fsync = os.fsync

    def damage(descriptor: int) -> None:
        fsync(descriptor)
        os.pwrite(descriptor, b"?", 1000)

    monkeypatch.setattr(os, "fsync", damage)
    with pytest.raises(
        WorkError, match=r"\.ckpt differs from what was .* disk is failing"
    ) as error:
        checkpoints.save(checkpoint(3), is_best=is_best)
    assert "\n" not in str(error.value)
    assert names(tmp_path) == ["best.ckpt", "step-000000001.ckpt", "step-000000002.ckpt"]
    assert_same(checkpoints.latest(), checkpoint(2))
    assert_same(checkpoints.best(), checkpoint(2))


def test_an_unreadable_checkpoint_is_an_error(tmp_path):
    """It may be intact, so it is neither deleted nor skipped."""
    (tmp_path / "step-000000001.ckpt").mkdir()
    (tmp_path / "best.ckpt").mkdir()
    for method in (open_checkpoints(tmp_path).latest, open_checkpoints(tmp_path).best):
        with pytest.raises(WorkError, match=r"\.ckpt is a directory"):
            method()
    assert names(tmp_path) == ["best.ckpt", "step-000000001.ckpt"]


def test_saving_copies_the_state_once_and_reading_does_not(tmp_path):
    arrays = {f"weights/{index}": np.full(1 << 20, index, np.float32) for index in range(32)}
    checkpoints = open_checkpoints(tmp_path, of=Checkpoint(1, arrays, np.zeros(2)))
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


def test_checkpoints_on_a_remote_file_system(tmp_path, monkeypatch):
    """Through TensorFlow's file system, which epath uses for gs://."""
    (tmp_path / "bucket").mkdir()
    monkeypatch.setattr(backend, "tf_backend", Bucket(tmp_path / "bucket"))
    checkpoints = open_checkpoints(f"{URL}/checkpoints")
    for step in (1, 2, 3):
        checkpoints.save(checkpoint(step), is_best=step == 2)
    flip(tmp_path / "bucket/checkpoints/step-000000003.ckpt")
    assert_same(checkpoints.latest(), checkpoint(2))
    assert_same(checkpoints.best(), checkpoint(2))


def test_a_directory_may_have_wildcards_in_its_name(tmp_path):
    directory = tmp_path / "run[1]" / "checkpoints"
    store = open_checkpoints(directory)
    for step in range(1, 5):
        store.save(checkpoint(step))
    assert sorted(path.name for path in directory.iterdir()) == [
        "step-000000003.ckpt",
        "step-000000004.ckpt",
    ]
    assert store.latest().step == 4


def forge(path: Path, members: dict[str, bytes], **kwargs) -> None:
    """Writes a checkpoint file with any members and the right digest."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **kwargs) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    path.write_bytes(hashlib.sha256(buffer.getvalue()).digest() + buffer.getvalue())


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(path.read_bytes()[DIGEST_BYTES:])) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def npy(array, **kwargs) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **kwargs)
    return buffer.getvalue()


def test_an_archive_that_unpacks_to_much_more_is_not_unpacked(tmp_path, capsys):
    path = tmp_path / "step-000000001.ckpt"
    forge(path, {"step.npy": npy(np.zeros(8 << 20))}, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 20
    tracemalloc.start()
    try:
        assert open_checkpoints(tmp_path).latest() is None
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert "is damaged; none is left" in capsys.readouterr().err


HUGE = npy(np.zeros(3, np.float32)).replace(b"(3,), }         ", b"(3000000000,), }")


@pytest.mark.parametrize(
    "change",
    [
        {"step.npy": npy(np.array([1, 2]))},
        {"step.npy": npy(np.array(-1))},
        {"step.npy": npy(np.array("one"))},
        {"step.npy": b""},
        {"step.npy": b"\x93NUMPY\x01\x00\x05\x00(((((("},
        {"step.npy": npy(np.array({"a": 1}, object), allow_pickle=True)},
        {"epoch_sums.npy": npy(np.zeros(3))},
        {"epoch_sums.npy": npy(np.zeros(2, np.float32))},
        {"epoch_sums.npy": npy(np.array([0.0, np.nan]))},
        {"state/weights/0000.npy": HUGE},
        {"state/weights/0000.npy": npy(np.zeros(3))[:-1]},
        {"state/weights/0000.npy": npy(np.zeros(3)) + b"0"},
        {"state/weights/0000.npy": b"text"},
    ],
)
def test_a_file_that_was_made_up_is_damaged(tmp_path, change):
    assert len(HUGE) == len(npy(np.zeros(3, np.float32)))
    open_checkpoints(tmp_path).save(checkpoint(1))
    path = tmp_path / "step-000000001.ckpt"
    forge(path, members(path))
    assert_same(read(path), checkpoint(1))
    forge(path, members(path) | change)
    assert read(path) is None


@pytest.mark.parametrize("missing", ["step.npy", "epoch_sums.npy"])
def test_a_file_without_a_field_is_damaged(tmp_path, missing):
    open_checkpoints(tmp_path).save(checkpoint(1))
    path = tmp_path / "step-000000001.ckpt"
    forge(path, {name: data for name, data in members(path).items() if name != missing})
    assert read(path) is None


def wider(step: int) -> Checkpoint:
    state = checkpoint(step)
    return Checkpoint(step, state.arrays | {"weights/0001": np.ones(9, np.float32)}, np.zeros(2))


def double(step: int) -> Checkpoint:
    state = checkpoint(step)
    arrays = state.arrays | {"weights/0000": state.arrays["weights/0000"].astype(np.float64)}
    return Checkpoint(step, arrays, np.zeros(2))


def deeper(step: int) -> Checkpoint:
    arrays = checkpoint(step).arrays | {"weights/0002": np.zeros(2, np.float32)}
    return Checkpoint(step, arrays, np.zeros(2))


def shallower(step: int) -> Checkpoint:
    arrays = checkpoint(step).arrays
    del arrays["weights/0001"]
    return Checkpoint(step, arrays, np.zeros(2))


@pytest.mark.parametrize(
    ("stray", "run", "message"),
    [
        (checkpoint(999_999_999), "a run", "is that of step 999,999,999, but the run has 50 steps"),
        (checkpoint(7), "other", "is that of a run with another config or dataset"),
        (wider(7), "a run", "is that of another model: its weights/0001 is not the one of this"),
        (double(7), "a run", "is that of another model: its weights/0000 is not the one of this"),
        (deeper(7), "a run", "is that of another model: its weights/0002 is not the one of this"),
        (shallower(7), "a run", "is that of another model: its weights/0001 is not the one of"),
    ],
)
def test_a_stray_checkpoint_is_neither_used_nor_deleted(tmp_path, capsys, stray, run, message):
    own, elsewhere = tmp_path / "own", tmp_path / "elsewhere"
    open_checkpoints(own).save(checkpoint(5), is_best=True)
    open_checkpoints(elsewhere, run=run).save(stray, is_best=True)
    for path in elsewhere.iterdir():
        (own / path.name).write_bytes(path.read_bytes())
    before = names(own)
    with pytest.raises(WorkError, match=f"{message}.*; move it away, and run the same") as error:
        open_checkpoints(own).latest()
    assert f"step-{stray.step:09d}.ckpt is that of" in str(error.value)
    assert "\n" not in str(error.value)
    assert open_checkpoints(own).best() is None
    assert f"best.ckpt {message}" in capsys.readouterr().err
    with pytest.raises(WorkError, match=r"is not of this run, which ended at step 5; move it away"):
        open_checkpoints(own).delete_all_but(5)
    assert names(own) == before


def test_a_checkpoint_of_a_name_that_is_not_its_step_is_refused(tmp_path):
    checkpoints = open_checkpoints(tmp_path)
    checkpoints.save(checkpoint(5))
    (tmp_path / "step-000000005.ckpt").rename(tmp_path / "step-000000009.ckpt")
    with pytest.raises(WorkError, match=r"9\.ckpt is that of step 5, which its name does not say"):
        checkpoints.latest()


def test_a_checkpoint_of_an_earlier_version_names_no_run(tmp_path):
    checkpoints = open_checkpoints(tmp_path)
    checkpoints.save(checkpoint(5))
    path = tmp_path / "step-000000005.ckpt"
    later = ("run.npy", "metrics.npy")
    forge(path, {name: data for name, data in members(path).items() if name not in later})
    assert_same(checkpoints.latest(), checkpoint(5))
    assert (read(path).run, read(path).metrics) == ("", "")


def test_a_checkpoint_knows_its_run_and_its_metrics(tmp_path):
    open_checkpoints(tmp_path).save(dataclasses.replace(checkpoint(5), metrics="a digest"))
    saved = read(tmp_path / "step-000000005.ckpt")
    assert (saved.run, saved.metrics) == ("a run", "a digest")


def test_only_the_last_step_is_kept_at_the_end(tmp_path):
    checkpoints = open_checkpoints(tmp_path)
    for step in (5, 10):
        checkpoints.save(checkpoint(step), is_best=step == 5)
    checkpoints.delete_all_but(10)
    assert names(tmp_path) == ["best.ckpt", "step-000000010.ckpt"]


def test_the_best_checkpoint_can_be_written_again(tmp_path):
    checkpoints = open_checkpoints(tmp_path)
    checkpoints.save(checkpoint(5), is_best=True)
    before = (tmp_path / "best.ckpt").read_bytes()
    damage_best = tmp_path / "best.ckpt"
    truncate(damage_best)
    assert checkpoints.best() is None
    assert not damage_best.exists()
    checkpoints.save_best(checkpoint(5))
    assert damage_best.read_bytes() == before
