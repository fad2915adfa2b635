import dataclasses
import math
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from etils import epath

from components.base.errors import ConfigError, WorkError
from components.data import codec
from components.data.batches import Batches
from components.data.examples import ExampleBatch
from components.data.image_store import InMemoryImages, StreamedImages, open_store
from components.data.prepared_dataset import PreparedDataset
from tests.conftest import ROOT
from tests.test_remote import URL, bucket  # noqa: F401 - a fixture

SHAPE = (4, 3, 1)
LENGTHS = [17, 1, 40, 8, 29]
SMALL = {"block_bytes": 4 * math.prod(SHAPE), "window_blocks": 3}


@pytest.fixture(scope="module")
def examples(example_set, tmp_path_factory) -> PreparedDataset:
    """Uneven shards; in every second one the records have many lengths."""
    return write(example_set, epath.Path(tmp_path_factory.mktemp("shards")))


def write(example_set: PreparedDataset, directory: epath.Path) -> PreparedDataset:
    shards, first = [], 0
    for number, length in enumerate(LENGTHS):
        ids = [f"{n:04d}" + "é" * (n * 5 % 7 * (number % 2)) for n in range(first, first + length)]
        images = np.random.default_rng(number).integers(0, 256, (length, *SHAPE), np.uint8)
        # So that each is another.
        images[:, 0, 0, 0] = np.arange(first, first + length)
        block = ExampleBatch(ids, images, np.arange(length, dtype=np.int64))
        (directory / f"shard-{number}").write_bytes(codec.encode(block))
        shards.append((f"shard-{number}", length))
        first += length
    return dataclasses.replace(
        example_set, path=directory, image_shape=SHAPE, shards={"train": shards}
    )


def held(examples: PreparedDataset, **options) -> InMemoryImages:
    return InMemoryImages(examples.read("train").images, LENGTHS, **options)


def chunks(store, steps: list[tuple[int, int]], *, pad_to, batch_size=10, seed=0, **options):
    """The images and counts of some chunks, copied."""
    batches = Batches(store, batch_size=batch_size, seed=seed)
    made = []
    for first, num_steps in steps:
        chunk = batches.chunk(first, num_steps, pad_to=pad_to, **options)
        made.append((chunk.images.tobytes(), chunk.counts.tolist()))
    batches.close()
    return made


def calls(batch_size: int, *, epochs: int, most: int, first: int = 0) -> list[tuple[int, int]]:
    """The steps of a run from `first` on, at most `most` a call."""
    per_epoch = -(-sum(LENGTHS) // batch_size)
    made = []
    while first < epochs * per_epoch:
        made.append((first, min(most, per_epoch - first % per_epoch)))
        first += made[-1][1]
    return made


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("batch_size", [1, 10, 33, 95, 200])
@pytest.mark.parametrize(
    "options",
    [{}, SMALL, {"block_bytes": 1, "window_blocks": 1}, {"block_bytes": 100, "window_blocks": 64}],
    ids=["default", "small", "smallest", "one window"],
)
def test_what_is_held_and_what_streams_is_the_same(examples, seed, batch_size, options):
    steps = calls(batch_size, epochs=3, most=4)
    made = [
        chunks(store, steps, pad_to=(4, batch_size + 1), batch_size=batch_size, seed=seed)
        for store in (held(examples, **options), StreamedImages(examples, "train", **options))
    ]
    assert made[0] == made[1]


def test_every_example_streams_once_an_epoch(examples):
    whole = {image.tobytes() for image in examples.read("train").images}
    batches = Batches(StreamedImages(examples, "train", **SMALL), batch_size=10, seed=0)
    for epoch in range(3):
        chunk = batches.chunk(10 * epoch, 10, pad_to=(10, 10))
        met = [
            image.tobytes()
            for images, count in zip(chunk.images, chunk.counts, strict=True)
            for image in images[:count]
        ]
        assert len(met) == len(whole) == 95
        assert set(met) == whole
    batches.close()


def test_a_run_goes_on_in_the_middle_of_an_epoch(examples):
    steps = calls(10, epochs=3, most=1)
    whole = chunks(StreamedImages(examples, "train", **SMALL), steps, pad_to=(1, 10))
    for stopped in (1, 7, 9, 10, 23):
        again = chunks(StreamedImages(examples, "train", **SMALL), steps[stopped:], pad_to=(1, 10))
        assert again == whole[stopped:]


def test_any_order_of_asking_gives_the_same(examples):
    steps = [(3, 4), (20, 3), (0, 1), (8, 5), (8, 5), (13, 5), (29, 1), (0, 5)]
    made = [
        chunks(store, steps, pad_to=(5, 12))
        for store in (held(examples, **SMALL), StreamedImages(examples, "train", **SMALL))
    ]
    assert made[0] == made[1]


def test_columns_stream(examples):
    steps = calls(10, epochs=2, most=3)
    made = [
        chunks(store, steps, pad_to=(3, 12), columns=slice(5, 12))
        for store in (held(examples, **SMALL), StreamedImages(examples, "train", **SMALL))
    ]
    assert made[0] == made[1]


def test_two_buffers_hold_all_windows(examples):
    store = StreamedImages(examples, "train", **SMALL)
    addresses = {buffer.ctypes.data for buffer in store._buffers}
    batches = Batches(store, batch_size=10, seed=0)
    for first, num_steps in calls(10, epochs=3, most=2):
        batches.chunk(first, num_steps, pad_to=(2, 10))
        batches._ahead[1].result()
        assert {loading.images.ctypes.data for loading in store._loading} == addresses
        assert not store._buffers
    batches.close()


def test_a_remote_set_streams(example_set, bucket):  # noqa: F811 - the fixture
    directory = epath.Path(URL) / "examples"
    directory.mkdir(parents=True)
    examples = write(example_set, directory)
    steps = calls(10, epochs=2, most=3)
    assert chunks(StreamedImages(examples, "train", **SMALL), steps, pad_to=(3, 10)) == chunks(
        held(examples, **SMALL), steps, pad_to=(3, 10)
    )
    np.testing.assert_array_equal(examples.images("train"), examples.read("train").images)
    assert not os.listdir()


@pytest.fixture
def damaged(example_set, tmp_path) -> PreparedDataset:
    """In the third shard, the image of its record 21 is not what it was."""
    examples = write(example_set, epath.Path(tmp_path))
    path = tmp_path / "shard-2"
    data = bytearray(path.read_bytes())
    data[len(data) // LENGTHS[2] * 21 + 70] ^= 2
    path.write_bytes(data)
    return examples


MATCH = r"record 21 of \S*shard-2 has a wrong payload checksum"


def test_damage_is_found_while_streaming_and_its_record_named(damaged):
    batches = Batches(StreamedImages(damaged, "train", **SMALL), batch_size=1, seed=0)
    row = sum(LENGTHS[:2]) + 21
    bad = next(step for step in range(95) if batches.rows(step) == row)
    met = 0
    with pytest.raises(WorkError, match=MATCH):
        for step in range(95):
            batches.chunk(step, 1, pad_to=(1, 1))
            met += 1
    # Other windows before were whole; it is found with the window that it lies in.
    window = batches._order.window_at(0, bad)
    assert met == window.first > 0
    with pytest.raises(WorkError, match=MATCH):
        batches.chunk(bad, 1, pad_to=(1, 1))
    batches.close()


def test_damage_found_ahead_hurts_when_it_is_asked_for(damaged):
    batches = Batches(StreamedImages(damaged, "train", **SMALL), batch_size=1, seed=0)
    first = batches._order.window_at(0, 0)
    later = next(s for s in range(95) if batches.rows(s) == sum(LENGTHS[:2]) + 21)
    assert later >= len(first)
    batches.chunk(0, len(first), pad_to=(95, 1))
    assert isinstance(batches._ahead[1].exception(), WorkError)
    batches.chunk(0, len(first), pad_to=(95, 1))
    with pytest.raises(WorkError, match=MATCH):
        batches.chunk(len(first), 95 - len(first), pad_to=(95, 1))
    batches.close()


def test_closing_ends_the_readers(examples):
    store = StreamedImages(examples, "train", **SMALL)
    batches = Batches(store, batch_size=10, seed=0)
    batches.chunk(0, 1, pad_to=(1, 10))
    threads = [*store._pool._threads, *batches._thread._threads]
    assert {thread.is_alive() for thread in threads} == {True}
    batches.close()
    assert not any(thread.is_alive() for thread in threads)
    assert not any(thread in threads for thread in threading.enumerate())


@pytest.mark.parametrize("how", ["signal.raise_signal(signal.SIGINT)", "raise ValueError"])
def test_a_run_that_fails_ends_though_nothing_is_closed(examples_dir, how):
    program = f"""
import signal
from components.data.batches import Batches
from components.data.prepared_dataset import PreparedDataset
from components.data.image_store import StreamedImages
dataset = PreparedDataset.open({str(examples_dir)!r})
store = StreamedImages(dataset, "train", block_bytes=1, window_blocks=200)
batches = Batches(store, batch_size=10, seed=0)
for step in range(1_000_000):
    if step == 3:
        {how}
    batches.chunk(step, 1, pad_to=(1, 10))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    interrupted = "SIGINT" in how
    assert done.returncode == (-signal.SIGINT if interrupted else 1)
    last = done.stderr.strip().splitlines()[-1]
    assert last == ("KeyboardInterrupt" if interrupted else "ValueError")


def test_the_cache_decides_where_examples_are(examples):
    size = 95 * math.prod(SHAPE)
    kept = open_store(examples, "train", cache_bytes=size)
    streamed = open_store(examples, "train", cache_bytes=size - 1)
    assert (kept.is_in_memory, streamed.is_in_memory) == (True, False)
    assert open_store(examples, "train").is_in_memory
    steps = calls(10, epochs=2, most=4)
    batches = [chunks(store, steps, pad_to=(4, 10)) for store in (kept, streamed)]
    assert batches[0] == batches[1]


def test_batches_say_whether_their_examples_are_held(examples):
    assert Batches(held(examples), batch_size=1, seed=0).is_in_memory
    store = StreamedImages(examples, "train")
    assert not Batches(store, batch_size=1, seed=0).is_in_memory
    store.close()


@pytest.mark.parametrize("cache_bytes", [0, 1 << 30])
def test_an_unknown_split_is_refused(examples, cache_bytes):
    with pytest.raises(ConfigError, match="no examples in split 'dev'; it has: train"):
        open_store(examples, "dev", cache_bytes=cache_bytes)
