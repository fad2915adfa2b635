import io

import numpy as np
import pytest
import tensorflow as tf
from etils import epath
from PIL import Image
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator

from trainer.recording.monitor import EpochMetrics, Monitor
from trainer.recording.tensorboard import HeldoutPictures, TensorBoard

TRAIN = {"loss": 3.0, "rate": 1.0, "distortion": 2.0}
HELDOUT = {"loss": 4.0, "rate": 1.5, "distortion": 2.5}
RATES = np.array([1.0, 0.0, 0.25, 0.011], np.float32)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def details(
    rng, *, images: int = 5, samples: int = 7, rates=RATES, channels: int = 1
) -> HeldoutPictures:
    shape = (6, 4, channels)
    originals = rng.integers(0, 256, (images, *shape), np.uint8)
    drawn = rng.random((samples, *shape), np.float32)
    return HeldoutPictures(rates, originals, originals[::-1].astype(np.float32) / 255, drawn)


def events(directory, run: str) -> EventAccumulator:
    """A run as TensorBoard itself reads it."""
    accumulator = EventAccumulator(str(directory / run), tensor_size_guidance={"scalars": 0})
    return accumulator.Reload()


def points(directory, run: str, tag: str) -> list[tuple[int, float]]:
    found = events(directory, run).Tensors(tag)
    return [(event.step, tf.make_ndarray(event.tensor_proto).item()) for event in found]


def picture(directory, tag: str) -> np.ndarray:
    """The newest image of a tag; its two first strings are the width and the height."""
    width, height, png = events(directory, "heldout").Tensors(tag)[-1].tensor_proto.string_val
    pixels = np.asarray(Image.open(io.BytesIO(png)))
    assert pixels.shape == (int(height), int(width), 3)
    return pixels


def write(directory, step: int, shown: HeldoutPictures | None = None) -> None:
    board = TensorBoard(epath.Path(directory), resumed_step=0)
    board.write(step, train=TRAIN, heldout=HELDOUT, details=shown)
    board.close()


def tile(pixels: np.ndarray, row: int, column: int) -> np.ndarray:
    """An image of 6 x 4 pixels on a grid with gaps of one."""
    return pixels[7 * row : 7 * row + 6, 5 * column : 5 * column + 4]


def test_the_monitor_writes_train_and_heldout_under_the_same_tags_by_step(tmp_path):
    args = {"num_examples": 100, "epochs": 2, "met": 0, "resumed_step": 0}
    with Monitor(epath.Path(tmp_path), **args) as monitor:
        monitor.on_epoch(EpochMetrics(1, 10, TRAIN, HELDOUT, learning_rate=0.5, beta=0.25))
        last = EpochMetrics(2, 20, TRAIN, None, learning_rate=0.125, beta=1.0)
        monitor.on_epoch(last, loss_scale=1024.0)
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


def test_a_resumed_run_is_shown_once(tmp_path):
    for resumed_step, steps in ((0, (10, 20, 30, 40)), (20, (30,)), (30, ())):
        board = TensorBoard(epath.Path(tmp_path), resumed_step=resumed_step)
        for step in steps:
            # The second process gives other values, to tell them from the first one's.
            value = float(step + resumed_step)
            board.write(step, train={"loss": value}, heldout={"loss": value}, details=None)
        board.close()
    for run in ("train", "heldout"):
        assert points(tmp_path, run, "loss") == [(10, 10.0), (20, 20.0), (30, 50.0)]


def test_a_run_that_starts_over_is_shown_alone(tmp_path):
    """Killed before its first checkpoint."""
    write(tmp_path, 10)
    write(tmp_path, 5)
    assert [step for step, _ in points(tmp_path, "heldout", "loss")] == [5]


def test_the_rate_of_each_dimension(tmp_path, rng):
    write(tmp_path, 10, details(rng))
    assert points(tmp_path, "heldout", "active_dimensions") == [(10, 3.0)]
    [event] = events(tmp_path, "heldout").Tensors("rate_by_dimension")
    buckets = tf.make_ndarray(event.tensor_proto)  # Rows of left edge, right edge and count.
    assert event.step == 10
    assert buckets[0, 0] == 0.0
    assert buckets[-1, 1] == 1.0
    assert buckets[:, 2].sum() == len(RATES)


def test_the_bars_are_as_high_as_the_rates(tmp_path, rng):
    write(tmp_path, 10, details(rng))
    pixels = picture(tmp_path, "rate_by_dimension_bars")
    blue = (pixels == (0x00, 0x72, 0xB2)).all(axis=-1)
    heights = blue.sum(axis=0)
    is_bar = heights > 0
    starts = np.flatnonzero(np.diff(is_bar.astype(int)) == 1) + 1
    # Of 200 pixels, and a line below even where there is no rate.
    assert heights[starts].tolist() == [201, 1, 51, 3]


@pytest.mark.parametrize("rates", [np.zeros(1), np.zeros(64), np.full(65, 0.5)])
def test_bars_stand_where_they_can_be_told_apart(tmp_path, rng, rates):
    write(tmp_path, 10, details(rng, rates=rates.astype(np.float32)))
    tags = events(tmp_path, "heldout").Tags()["tensors"]
    assert ("rate_by_dimension_bars" in tags) == (len(rates) <= 64)
    assert "rate_by_dimension" in tags


@pytest.mark.parametrize("channels", [1, 3])
def test_reconstructions_stand_below_their_originals(tmp_path, rng, channels):
    shown = details(rng, channels=channels)
    write(tmp_path, 10, shown)
    pixels = picture(tmp_path, "reconstructions")
    assert pixels.shape == (2 * 7 - 1, 5 * 5 - 1, 3)
    for index in range(5):
        expected = np.broadcast_to(shown.originals[index], (6, 4, 3))
        np.testing.assert_array_equal(tile(pixels, 0, index), expected)
        # `details` takes the originals in reverse for reconstructions.
        np.testing.assert_array_equal(tile(pixels, 1, 4 - index), expected)


def test_many_reconstructions_stand_in_several_pairs_of_rows(tmp_path, rng):
    shown = details(rng, images=18)
    write(tmp_path, 10, shown)
    pixels = picture(tmp_path, "reconstructions")
    assert pixels.shape == (4 * 7 - 1, 16 * 5 - 1, 3)
    np.testing.assert_array_equal(tile(pixels, 2, 1)[..., :1], shown.originals[17])
    np.testing.assert_array_equal(tile(pixels, 3, 1)[..., :1], shown.originals[0])
    assert (tile(pixels, 2, 2) == 255).all()


def test_samples_fill_a_square(tmp_path, rng):
    shown = details(rng, samples=7)
    write(tmp_path, 10, shown)
    pixels = picture(tmp_path, "samples")
    assert pixels.shape == (3 * 7 - 1, 3 * 5 - 1, 3)
    expected = np.rint(255 * shown.samples[5])
    np.testing.assert_array_equal(tile(pixels, 1, 2)[..., :1], expected)
    assert (tile(pixels, 2, 1) == 255).all()
