import dataclasses
import hashlib
import itertools
import math
import os
import shutil
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from etils import epath

from components.base.arithmetic import ceil_div
from components.base.errors import ConfigError, WorkError
from components.base.manifest import Artifact, OutputRecord
from components.data import codec
from components.data.batches import Batches
from components.data.dataset_counts import ShardCount
from components.data.examples import ExampleBatch
from components.data.image_store import InMemoryImages, StreamedImages, open_store
from components.data.prepared_dataset import PreparedDataset
from tests.conftest import ROOT
from tests.test_remote import URL, bucket  # noqa: F401 - a fixture

SHAPE = (4, 3, 1)
LENGTHS = [17, 1, 40, 8, 29]
SMALL = {"block_bytes": 4 * math.prod(SHAPE), "window_blocks": 3}


@pytest.fixture(scope="module")
def dataset(example_set, tmp_path_factory) -> PreparedDataset:
    """A dataset of 95 examples in shards of different sizes."""
    return write_dataset(example_set, epath.Path(tmp_path_factory.mktemp("shards")))


def write_dataset(template: PreparedDataset, directory: epath.Path) -> PreparedDataset:
    """Writes the shards of a dataset; every second shard has records of different lengths."""
    shards, records, first = [], {}, 0
    for number, length in enumerate(LENGTHS):
        ids = [f"{n:04d}" + "é" * (n * 5 % 7 * (number % 2)) for n in range(first, first + length)]
        images = np.random.default_rng(number).integers(0, 256, (length, *SHAPE), np.uint8)
        # No two images are equal.
        images[:, 0, 0, 0] = np.arange(first, first + length)
        labels = np.arange(length, dtype=np.int64) % len(template.class_names)
        batch = ExampleBatch(ids, images, labels)
        data = codec.encode(batch)
        (directory / f"shard-{number}").write_bytes(data)
        shards.append(ShardCount(f"shard-{number}", length))
        records[f"shard-{number}"] = OutputRecord(len(data), hashlib.sha256(data).hexdigest())
        first += length
    counts = dataclasses.replace(template.counts, image_shape=SHAPE, shards={"train": shards})
    manifest = dataclasses.replace(template.artifact.manifest, outputs=records)
    artifact = Artifact(directory, manifest)
    return dataclasses.replace(template, path=directory, counts=counts, artifact=artifact)


def in_memory(dataset: PreparedDataset, **options) -> InMemoryImages:
    return InMemoryImages(dataset.read("train").images, LENGTHS, **options)


def read_chunks(
    store, steps: list[tuple[int, int]], *, pad_to, batch_size=10, seed=0, **options
) -> list[tuple[bytes, list[int]]]:
    """The images and counts of chunks, as copies; `steps` are (first step, number of steps)."""
    batches = Batches(store, batch_size=batch_size, seed=seed)
    chunks = []
    for first, num_steps in steps:
        chunk = batches.chunk(first, num_steps, pad_to=pad_to, **options)
        chunks.append((chunk.images.tobytes(), chunk.counts.tolist()))
    batches.close()
    return chunks


def all_steps(batch_size: int, *, epochs: int, max_steps: int) -> list[tuple[int, int]]:
    """The chunks of a run, as (first step, number of steps)."""
    per_epoch = ceil_div(sum(LENGTHS), batch_size)
    steps, first = [], 0
    while first < epochs * per_epoch:
        steps.append((first, min(max_steps, per_epoch - first % per_epoch)))
        first += steps[-1][1]
    return steps


def assert_stores_agree(dataset, steps, *, pad_to, store_options=SMALL, **options) -> None:
    """Compares the chunks of images in memory with those of streamed images."""
    from_memory, streamed = (
        read_chunks(store, steps, pad_to=pad_to, **options)
        for store in (
            in_memory(dataset, **store_options),
            StreamedImages(dataset, "train", **store_options),
        )
    )
    assert streamed == from_memory


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("batch_size", [1, 10, 33, 95, 200])
@pytest.mark.parametrize(
    "options",
    [{}, SMALL, {"block_bytes": 1, "window_blocks": 1}, {"block_bytes": 100, "window_blocks": 64}],
    ids=["default", "small", "smallest", "one window"],
)
def test_streamed_images_equal_those_in_memory(dataset, seed, batch_size, options):
    assert_stores_agree(
        dataset,
        all_steps(batch_size, epochs=3, max_steps=4),
        pad_to=(4, batch_size + 1),
        store_options=options,
        batch_size=batch_size,
        seed=seed,
    )


def test_every_example_is_streamed_once_per_epoch(dataset):
    expected = {image.tobytes() for image in dataset.read("train").images}
    batches = Batches(StreamedImages(dataset, "train", **SMALL), batch_size=10, seed=0)
    for epoch in range(3):
        chunk = batches.chunk(10 * epoch, 10, pad_to=(10, 10))
        streamed = [
            image.tobytes()
            for images, count in zip(chunk.images, chunk.counts, strict=True)
            for image in images[:count]
        ]
        assert len(streamed) == len(expected) == 95
        assert set(streamed) == expected
    batches.close()


def test_a_run_may_resume_in_the_middle_of_an_epoch(dataset):
    steps = all_steps(10, epochs=3, max_steps=1)
    uninterrupted = read_chunks(StreamedImages(dataset, "train", **SMALL), steps, pad_to=(1, 10))
    for stopped in (1, 7, 9, 10, 23):
        store = StreamedImages(dataset, "train", **SMALL)
        resumed = read_chunks(store, steps[stopped:], pad_to=(1, 10))
        assert resumed == uninterrupted[stopped:]


def test_chunks_can_be_requested_in_any_order(dataset):
    steps = [(3, 4), (20, 3), (0, 1), (8, 5), (8, 5), (13, 5), (29, 1), (0, 5)]
    assert_stores_agree(dataset, steps, pad_to=(5, 12))


def test_columns_are_streamed(dataset):
    steps = all_steps(10, epochs=2, max_steps=3)
    assert_stores_agree(dataset, steps, pad_to=(3, 12), columns=slice(5, 12))


def test_two_buffers_are_reused_for_all_windows(dataset):
    store = StreamedImages(dataset, "train", **SMALL)
    addresses = {buffer.ctypes.data for buffer in store._free_buffers}
    batches = Batches(store, batch_size=10, seed=0)
    for first, num_steps in all_steps(10, epochs=3, max_steps=2):
        batches.chunk(first, num_steps, pad_to=(2, 10))
        batches._prefetched[1].result()
        assert {loading.images.ctypes.data for loading in store._windows} == addresses
        assert not store._free_buffers
    batches.close()


def test_remote_shards_are_streamed(example_set, bucket):  # noqa: F811 - the fixture
    directory = epath.Path(URL) / "examples"
    directory.mkdir(parents=True)
    dataset = write_dataset(example_set, directory)
    assert_stores_agree(dataset, all_steps(10, epochs=2, max_steps=3), pad_to=(3, 10))
    np.testing.assert_array_equal(dataset.images("train"), dataset.read("train").images)
    assert not os.listdir()


@pytest.fixture
def damaged(example_set, tmp_path) -> PreparedDataset:
    """A dataset in whose third shard the image of record 21 is damaged."""
    dataset = write_dataset(example_set, epath.Path(tmp_path))
    path = tmp_path / "shard-2"
    data = bytearray(path.read_bytes())
    data[len(data) // LENGTHS[2] * 21 + 70] ^= 2
    path.write_bytes(data)
    return dataset


DAMAGED_ROWS = range(sum(LENGTHS[:2]), sum(LENGTHS[:3]))
MATCH = r"record 21 of \S*shard-2 has a wrong payload checksum"


def batches_with_an_intact_window(damaged: PreparedDataset) -> tuple[Batches, int]:
    """Batches of one example, and the step of the first window that needs the damaged shard.

    It is not the first window of all.
    """
    for seed in itertools.count():
        batches = Batches(StreamedImages(damaged, "train", **SMALL), batch_size=1, seed=seed)
        step = next(step for step in range(95) if batches.rows(step) in DAMAGED_ROWS)
        if start := batches._order.window_at(0, step).start:
            return batches, start
        batches.close()
    raise AssertionError


def test_damage_is_detected_with_the_shards_first_window_and_its_record_is_named(damaged):
    batches, step = batches_with_an_intact_window(damaged)
    num_read = 0
    with pytest.raises(WorkError, match=MATCH):
        for earlier in range(95):
            batches.chunk(earlier, 1, pad_to=(1, 1))
            num_read += 1
    assert num_read == step
    with pytest.raises(WorkError, match=MATCH):
        batches.chunk(step, 1, pad_to=(1, 1))
    batches.close()


def test_damage_in_a_prefetched_chunk_is_reported_only_if_that_chunk_is_requested(damaged):
    batches, size = batches_with_an_intact_window(damaged)
    batches.chunk(0, size, pad_to=(95, 1))
    assert isinstance(batches._prefetched[1].exception(), WorkError)
    batches.chunk(0, size, pad_to=(95, 1))
    with pytest.raises(WorkError, match=MATCH):
        batches.chunk(size, 95 - size, pad_to=(95, 1))
    batches.close()


@pytest.mark.parametrize("streamed", [False, True])
def test_a_shard_of_another_run_with_the_same_size_is_refused(example_set, tmp_path, streamed):
    dataset = write_dataset(example_set, epath.Path(tmp_path))
    path = tmp_path / "shard-2"
    batch = next(codec.read_batches(path, SHAPE))
    batch.images[7] ^= 1
    path.write_bytes(codec.encode(batch))
    with pytest.raises(WorkError, match=r"shard-2 is damaged or belongs to another run"):
        if streamed:
            read_chunks(
                StreamedImages(dataset, "train", **SMALL), [(0, 95)], pad_to=(95, 1), batch_size=1
            )
        else:
            open_store(dataset, "train", cache_bytes=1 << 20)


def test_a_shard_that_is_replaced_while_it_is_streamed_is_refused(example_set, tmp_path):
    dataset = write_dataset(example_set, epath.Path(tmp_path))
    batches = Batches(StreamedImages(dataset, "train", **SMALL), batch_size=95, seed=0)
    batches.chunk(0, 1, pad_to=(1, 95))
    path = tmp_path / "shard-2"
    # In one step: a thread reads ahead meanwhile, and must always find a file.
    shutil.copy(path, tmp_path / "new")
    (tmp_path / "new").replace(path)
    with pytest.raises(WorkError, match=r"shard-2 is damaged or belongs to another run"):
        # The first windows of the second epoch may have been read in advance.
        for step in (1, 2):
            batches.chunk(step, 1, pad_to=(1, 95))
    batches.close()


def test_closing_stops_all_threads(dataset):
    store = StreamedImages(dataset, "train", **SMALL)
    batches = Batches(store, batch_size=10, seed=0)
    batches.chunk(0, 1, pad_to=(1, 10))
    threads = [*store._pool._threads, *batches._thread._threads]
    assert {thread.is_alive() for thread in threads} == {True}
    batches.close()
    assert not any(thread.is_alive() for thread in threads)
    assert not any(thread in threads for thread in threading.enumerate())


@pytest.mark.parametrize("failure", ["signal.raise_signal(signal.SIGINT)", "raise ValueError"])
def test_a_failing_process_ends_without_closing_anything(examples_dir, failure):
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
        {failure}
    batches.chunk(step, 1, pad_to=(1, 10))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    is_interrupted = "SIGINT" in failure
    assert done.returncode == (-signal.SIGINT if is_interrupted else 1)
    last_line = done.stderr.strip().splitlines()[-1]
    assert last_line == ("KeyboardInterrupt" if is_interrupted else "ValueError")


def test_images_are_kept_in_memory_if_they_fit_in_the_cache(dataset):
    size = 95 * math.prod(SHAPE)
    fitting = open_store(dataset, "train", cache_bytes=size)
    streamed = open_store(dataset, "train", cache_bytes=size - 1)
    assert (fitting.is_in_memory, streamed.is_in_memory) == (True, False)
    assert open_store(dataset, "train").is_in_memory
    steps = all_steps(10, epochs=2, max_steps=4)
    chunks = [read_chunks(store, steps, pad_to=(4, 10)) for store in (fitting, streamed)]
    assert chunks[0] == chunks[1]


def test_batches_know_whether_their_images_are_in_memory(dataset):
    assert Batches(in_memory(dataset), batch_size=1, seed=0).is_in_memory
    store = StreamedImages(dataset, "train")
    assert not Batches(store, batch_size=1, seed=0).is_in_memory
    store.close()


@pytest.mark.parametrize("cache_bytes", [0, 1 << 30])
def test_an_unknown_split_is_refused(dataset, cache_bytes):
    with pytest.raises(ConfigError, match="no examples in split 'dev'; it has: train"):
        open_store(dataset, "dev", cache_bytes=cache_bytes)
