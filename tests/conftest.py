"""Tiny artifacts of every stage, made once and only read by the tests."""

import functools
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from components.base import tensorflow_setup
from components.base.config import from_mapping
from components.data.examples import ExampleBatch
from components.data.prepared_dataset import PreparedDataset
from components.sources.source import BLOCK_EXAMPLES, Source
from pipeline.prepare.config import PrepareConfig

ROOT = Path(__file__).parent.parent

tensorflow_setup.load()

from components.data.batches import Batches  # noqa: E402 - after TensorFlow, quietly
from components.data.image_store import InMemoryImages  # noqa: E402
from trainer import build, stage  # noqa: E402
from trainer.config import load_config  # noqa: E402
from trainer.devices import strategy  # noqa: E402

# Two logical devices, so that replicas can be tested in this process.
strategy.split_cpu(2)


@pytest.fixture(scope="session", autouse=True)
def one_strategy_a_process() -> Iterator[None]:
    """Two over the same devices would number their collective operations alike, and meet."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strategy, "create", functools.cache(strategy.create))
        yield


def tiny_prepare_config(**fields) -> PrepareConfig:
    fields = {"dataset": "synthetic_garments", "synthetic_size": 600} | fields
    return from_mapping(PrepareConfig, fields, where="a test")


def tiny_train_config(preset: str = "mlp", **fields):
    tiny = {"epochs": 2, "widths": (16,), "batch_size": 50, "warmup_steps": 0}
    return load_config(preset, overrides=tiny | fields)


def tiny_run(images: np.ndarray, **fields) -> build.TrainingRun:
    """On one replica, on images that need no artifact."""
    config = tiny_train_config(**fields)
    batches = Batches(InMemoryImages(images), batch_size=config.batch_size, seed=config.seed)
    return build.run_on(build.machine(config), config, batches)


@pytest.fixture(scope="session")
def examples_dir(tmp_path_factory) -> Path:
    from pipeline.prepare.stage import prepare

    directory = tmp_path_factory.mktemp("prepared") / "examples"
    prepare(tiny_prepare_config(), output=directory)
    return directory


@pytest.fixture(scope="session")
def example_set(examples_dir) -> PreparedDataset:
    return PreparedDataset.open(examples_dir)


@pytest.fixture(scope="session")
def model_dir(examples_dir, tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("trained") / "model"
    stage.run("mlp", tiny_train_config(), examples=examples_dir, output=directory)
    return directory


@pytest.fixture
def cli(tmp_path) -> Callable[..., subprocess.CompletedProcess]:
    """Runs `python -m MODULE ARGUMENTS` to its end, as a user without a prepared dataset would."""

    def run(module: str, *arguments: object, **kwargs) -> subprocess.CompletedProcess:
        return subprocess.run(
            command(module, *arguments),
            cwd=ROOT,
            env=os.environ | {"TFDS_DATA_DIR": str(tmp_path / "no_datasets")},
            capture_output=True,
            text=True,
            timeout=240,
            **kwargs,
        )

    return run


@pytest.fixture
def on_two_hosts() -> Iterator[Callable[..., list[subprocess.Popen]]]:
    """Starts a command in two processes, which TF_CONFIG makes the hosts of one run."""
    started: list[subprocess.Popen] = []

    def start(command: list[str]) -> list[subprocess.Popen]:
        # Both at a time, or the second might get the port of the first.
        listen = functools.partial(socket.create_server, ("127.0.0.1", 0))
        with listen() as one, listen() as other:
            workers = ["{}:{}".format(*each.getsockname()) for each in (one, other)]
        for index in range(2):
            task = {"type": "worker", "index": index}
            hosts = {"TF_CONFIG": json.dumps({"cluster": {"worker": workers}, "task": task})}
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=os.environ | hosts | {"CUDA_VISIBLE_DEVICES": "-1"},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            started.append(process)
        return started[-2:]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def ends(processes: list[subprocess.Popen]) -> list[subprocess.CompletedProcess]:
    """Waits for hosts that wait for each other; none of them for ever."""
    try:
        said = [process.communicate(timeout=150) for process in processes]
    except subprocess.TimeoutExpired:
        for process in processes:
            process.kill()
        raise AssertionError([process.communicate() for process in processes]) from None
    return [
        subprocess.CompletedProcess(process.args, process.returncode, *each)
        for process, each in zip(processes, said, strict=True)
    ]


def read_split(source: Source, split: str = "train", *, parts=None) -> ExampleBatch:
    """A whole split of a source that rejects nothing, in the order of its ids."""
    parts = [part for part in source.slices() if part.split == split] if parts is None else parts
    blocks = [block for part in parts for block in source.read(part)]
    assert all(isinstance(block, ExampleBatch) for block in blocks)
    assert max(map(len, blocks)) <= BLOCK_EXAMPLES
    whole = ExampleBatch.concatenate(blocks)
    assert whole.labels.dtype == np.int64
    return whole.take(np.argsort(whole.ids))


def command(module: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", module, *map(str, arguments)]


@pytest.fixture(scope="session")
def fashion_mnist_data_dir() -> str:
    """Where TFDS prepared the real Fashion-MNIST; tests that need it skip where it is not."""
    from components.sources import dataset_names

    data_dir = dataset_names.default_data_dir()
    if dataset_names.find_prepared("fashion_mnist", data_dir) is None:
        pytest.skip("no fashion_mnist under TFDS_DATA_DIR")
    return data_dir
