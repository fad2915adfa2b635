import numpy as np
import pytest

from trainer.checkpoints import Checkpoint, Checkpoints


def checkpoint(step: int) -> Checkpoint:
    rng = np.random.default_rng(step)
    arrays = [rng.normal(size=(3, 2)).astype(np.float32), np.int64(step), np.float32(2)]
    return Checkpoint(step, arrays, np.array([1.5, step]))


def assert_same(one: Checkpoint, other: Checkpoint) -> None:
    assert one.step == other.step
    np.testing.assert_array_equal(one.epoch_sums, other.epoch_sums)
    for a, b in zip(one.arrays, other.arrays, strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.asarray(a).dtype == np.asarray(b).dtype


def test_the_newest_is_read_back_and_the_last_two_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert checkpoints.latest() is None
    for step in (5, 10, 20):
        checkpoints.save(checkpoint(step))
    assert_same(checkpoints.latest(), checkpoint(20))
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["step-000000010.ckpt", "step-000000020.ckpt"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_newest_falls_back_to_the_one_before(tmp_path, damage, capsys):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(checkpoint(1))
    checkpoints.save(checkpoint(2))
    newest = tmp_path / "step-000000002.ckpt"
    data = bytearray(newest.read_bytes())
    if damage == "flipped":
        data[len(data) // 3] ^= 1
    newest.write_bytes({"cut": data[:-30], "flipped": data, "empty": b""}[damage])
    assert_same(checkpoints.latest(), checkpoint(1))
    assert "step-000000002.ckpt is damaged" in capsys.readouterr().err


def test_every_flipped_byte_is_found(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(checkpoint(1))
    path = tmp_path / "step-000000001.ckpt"
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        assert checkpoints.latest() is None
