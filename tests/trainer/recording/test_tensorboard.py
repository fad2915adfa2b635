import contextlib
import dataclasses
import io
import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from etils import epath
from PIL import Image
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator

from components.model.pixels import to_unit
from trainer.recording.epoch_metrics import EpochMetrics
from trainer.recording.monitor import Monitor
from trainer.recording.tensorboard import HeldoutPictures, TensorBoard

TRAIN = {"loss": 3.0, "rate": 1.0, "distortion": 2.0}
HELDOUT = {"loss": 4.0, "rate": 1.5, "distortion": 2.5}
RATES = np.array([1.0, 0.0, 0.25, 0.011], np.float32)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def random_pictures(
    rng, *, images: int = 5, samples: int = 7, channels: int = 1
) -> HeldoutPictures:
    shape = (6, 4, channels)
    originals = rng.integers(0, 256, (images, *shape), np.uint8)
    decoded = rng.random((samples, *shape), np.float32)
    # The reconstructions are the originals in reverse order.
    return HeldoutPictures(RATES, 3, originals, to_unit(originals[::-1]), decoded)


def events(directory, run: str) -> EventAccumulator:
    """A run, read by TensorBoard's own code."""
    accumulator = EventAccumulator(str(directory / run), tensor_size_guidance={"scalars": 0})
    return accumulator.Reload()


def points(directory, run: str, tag: str) -> list[tuple[int, float]]:
    """The steps and values of a curve."""
    tensors = events(directory, run).Tensors(tag)
    return [(event.step, tf.make_ndarray(event.tensor_proto).item()) for event in tensors]


def picture(directory, tag: str) -> np.ndarray:
    """The newest picture of a tag; an event has its width, its height and a PNG."""
    width, height, png = events(directory, "heldout").Tensors(tag)[-1].tensor_proto.string_val
    pixels = np.asarray(Image.open(io.BytesIO(png)))
    assert pixels.shape == (int(height), int(width), 3)
    return pixels


def write(directory, step: int, pictures: HeldoutPictures | None = None) -> None:
    board = TensorBoard(epath.Path(directory), resumed_step=0)
    board.write(step, train=TRAIN, heldout=HELDOUT, pictures=pictures)
    board.close()


def tile(pixels: np.ndarray, row: int, column: int) -> np.ndarray:
    """One image of 6 x 4 pixels from a mosaic with gaps of one pixel."""
    return pixels[7 * row : 7 * row + 6, 5 * column : 5 * column + 4]


def test_the_monitor_writes_train_and_heldout_under_the_same_tags(tmp_path):
    settings = {"num_examples": 100, "epochs": 2, "examples_done": 0, "resumed_step": 0}
    with Monitor(epath.Path(tmp_path), **settings) as monitor:
        monitor.record_epoch(EpochMetrics(1, 10, TRAIN, HELDOUT, learning_rate=0.5, beta=0.25))
        last = EpochMetrics(2, 20, TRAIN, None, learning_rate=0.125, beta=1.0)
        monitor.record_epoch(last, loss_scale=1024.0)
    board = tmp_path / "tensorboard"
    assert set(events(board, "train").Tags()["tensors"]) == {
        *TRAIN, "learning_rate", "beta", "loss_scale",
    }  # fmt: skip
    assert set(events(board, "heldout").Tags()["tensors"]) == {*HELDOUT, "elbo"}
    for tag, value in TRAIN.items():
        assert points(board, "train", tag) == [(10, value), (20, value)]
    for tag, value in HELDOUT.items():
        assert points(board, "heldout", tag) == [(10, value)]
    assert points(board, "heldout", "elbo") == [(10, -4.0)]
    assert points(board, "train", "learning_rate") == [(10, 0.5), (20, 0.125)]
    assert points(board, "train", "beta") == [(10, 0.25), (20, 1.0)]
    assert points(board, "train", "loss_scale") == [(20, 1024.0)]


def test_a_resumed_run_shows_every_step_once(tmp_path):
    for resumed_step, steps in ((0, (10, 20, 30, 40)), (20, (30,)), (30, ())):
        board = TensorBoard(epath.Path(tmp_path), resumed_step=resumed_step)
        for step in steps:
            # Each process writes other values, which shows whose they are.
            value = float(step + resumed_step)
            board.write(step, train={"loss": value}, heldout={"loss": value}, pictures=None)
        board.close()
    for run in ("train", "heldout"):
        assert points(tmp_path, run, "loss") == [(10, 10.0), (20, 20.0), (30, 50.0)]


def test_a_run_that_starts_again_hides_the_earlier_one(tmp_path):
    """The earlier process was killed before its first checkpoint."""
    write(tmp_path, 10)
    write(tmp_path, 5)
    assert [step for step, _ in points(tmp_path, "heldout", "loss")] == [5]


def test_rates_are_a_histogram_and_a_number_of_active_units(tmp_path, rng):
    write(tmp_path, 10, random_pictures(rng))
    assert points(tmp_path, "heldout", "active_units") == [(10, 3.0)]
    [event] = events(tmp_path, "heldout").Tensors("rate_by_dimension")
    buckets = tf.make_ndarray(event.tensor_proto)  # Left edge, right edge and count.
    assert event.step == 10
    assert buckets[0, 0] == 0.0
    assert buckets[-1, 1] == 1.0
    assert buckets[:, 2].sum() == len(RATES)


def test_rates_by_level_are_not_shown_as_rates_of_dimensions(tmp_path, rng):
    write(tmp_path, 10, dataclasses.replace(random_pictures(rng), rates=None))
    tags = events(tmp_path, "heldout").Tags()["tensors"]
    assert "reconstructions" in tags
    assert "rate_by_dimension" not in tags
    assert "active_units" in tags


@pytest.mark.parametrize("channels", [1, 3])
def test_reconstructions_are_below_their_originals(tmp_path, rng, channels):
    pictures = random_pictures(rng, channels=channels)
    write(tmp_path, 10, pictures)
    pixels = picture(tmp_path, "reconstructions")
    assert pixels.shape == (2 * 7 - 1, 5 * 5 - 1, 3)
    for index in range(5):
        expected = np.broadcast_to(pictures.originals[index], (6, 4, 3))
        np.testing.assert_array_equal(tile(pixels, 0, index), expected)
        np.testing.assert_array_equal(tile(pixels, 1, 4 - index), expected)


def test_many_reconstructions_take_several_pairs_of_rows(tmp_path, rng):
    pictures = random_pictures(rng, images=18)
    write(tmp_path, 10, pictures)
    pixels = picture(tmp_path, "reconstructions")
    assert pixels.shape == (4 * 7 - 1, 16 * 5 - 1, 3)
    np.testing.assert_array_equal(tile(pixels, 2, 1)[..., :1], pictures.originals[17])
    np.testing.assert_array_equal(tile(pixels, 3, 1)[..., :1], pictures.originals[0])
    assert (tile(pixels, 2, 2) == 255).all()


def test_samples_fill_a_square(tmp_path, rng):
    pictures = random_pictures(rng, samples=7)
    write(tmp_path, 10, pictures)
    pixels = picture(tmp_path, "samples")
    assert pixels.shape == (3 * 7 - 1, 3 * 5 - 1, 3)
    expected = np.rint(255 * pictures.samples[5])
    np.testing.assert_array_equal(tile(pixels, 1, 2)[..., :1], expected)
    assert (tile(pixels, 2, 1) == 255).all()


@contextlib.contextmanager
def full_disk(path: Path, *, more: int) -> Iterator[None]:
    """No file may become larger than a file is, and some bytes more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + more, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_on_a_full_disk_one_warning_is_printed_and_the_training_goes_on(tmp_path, capsys, rng):
    board = TensorBoard(epath.Path(tmp_path), resumed_step=0)
    board.write(10, train=TRAIN, heldout=HELDOUT, pictures=None)
    (file,) = (tmp_path / "heldout").iterdir()
    with full_disk(file, more=500):
        board.write(20, train={}, heldout=HELDOUT, pictures=random_pictures(rng))
    board.write(30, train=TRAIN, heldout=HELDOUT, pictures=None)
    board.close()
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning == (
        f"warning: {file} cannot be written (File too large); the training goes on, but "
        "TensorBoard shows only what is in the file"
    )
    # The other run is complete, and what is in the file is shown.
    assert points(tmp_path, "train", "loss") == [(10, 3.0), (30, 3.0)]
    assert points(tmp_path, "heldout", "loss") == [(10, 4.0)]


def test_without_a_place_for_the_files_there_is_one_warning_each(tmp_path, capsys):
    (tmp_path / "board").write_text("a file")
    write(tmp_path / "board", 10)
    warnings = capsys.readouterr().err.splitlines()
    assert len(warnings) == 2
    assert all("cannot be written (Not a directory)" in warning for warning in warnings)
