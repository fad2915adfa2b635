"""Fixtures and helpers of all tests: tiny artifacts, made once per session, and subprocesses.

Tests must not change the session's artifacts.
"""

import functools
import json
import os
import signal
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
from components.sources.source import BATCH_EXAMPLES, Source
from pipeline.prepare.config import PrepareConfig
from tests.object_store import object_store as object_store

ROOT = Path(__file__).parent.parent
ADDRESS_SPACE = 6 << 30  # bytes

tensorflow_setup.load()

from components.data.batches import Batches  # noqa: E402 - imports TensorFlow
from components.data.image_store import InMemoryImages  # noqa: E402
from trainer import build, stage  # noqa: E402
from trainer.config import load_config  # noqa: E402
from trainer.devices import strategy  # noqa: E402

# Under nohup, or in the background of a script, these signals are ignored, and the processes that
# tests start would inherit that.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

# Two logical devices, for tests of several replicas in this process.
strategy.split_cpu(2)


@pytest.fixture(scope="session", autouse=True)
def own_cache_directory(tmp_path_factory) -> Iterator[None]:
    """Keeps measurements of this process and of those that it starts out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def tiny_prepare_config(**fields) -> PrepareConfig:
    """A config of 600 built-in images, with the given fields."""
    fields = {"dataset": "synthetic_garments", "synthetic_size": 600} | fields
    return from_mapping(PrepareConfig, fields, where="a test")


def tiny_train_config(preset: str = "mlp", **fields):
    """A preset reduced to a second of training, with the given fields."""
    tiny = {"epochs": 2, "widths": (16,), "batch_size": 50, "warmup_steps": 0}
    return load_config(preset, overrides=tiny | fields)


def tiny_run(images: np.ndarray, **fields) -> build.TrainingRun:
    """A training run on one replica, on images in memory."""
    config = tiny_train_config(**fields)
    batches = Batches(InMemoryImages(images), batch_size=config.batch_size, seed=config.seed)
    return build.build_run_on(build.claim_devices(config), config, batches)


@pytest.fixture(scope="session")
def examples_dir(tmp_path_factory) -> Path:
    """A directory that `prepare` published."""
    from pipeline.prepare.stage import prepare

    directory = tmp_path_factory.mktemp("prepared") / "examples"
    prepare(tiny_prepare_config(), output=directory)
    return directory


@pytest.fixture(scope="session")
def example_set(examples_dir) -> PreparedDataset:
    """The dataset in `examples_dir`."""
    return PreparedDataset.open(examples_dir)


@pytest.fixture(scope="session")
def model_dir(examples_dir, tmp_path_factory) -> Path:
    """A directory that the trainer published."""
    directory = tmp_path_factory.mktemp("trained") / "model"
    stage.run("mlp", tiny_train_config(), examples=examples_dir, output=directory)
    return directory


@pytest.fixture
def cli(tmp_path) -> Callable[..., subprocess.CompletedProcess]:
    """Returns a function that runs `python -m MODULE ARGUMENTS`, without TFDS datasets on disk."""

    def run(module: str, *arguments: object, **kwargs) -> subprocess.CompletedProcess:
        return subprocess.run(
            module_command(module, *arguments),
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
    """Returns a function that starts a command in two processes, the two hosts of one run.

    The first one is a worker, or a job of its own if `has_chief` is set.
    """
    started: list[subprocess.Popen] = []

    def start(command: list[str], *, has_chief: bool = False) -> list[subprocess.Popen]:
        # Both sockets are open at once, so the system assigns two different ports.
        listen = functools.partial(socket.create_server, ("127.0.0.1", 0))
        with listen() as first, listen() as second:
            workers = ["{}:{}".format(*server.getsockname()) for server in (first, second)]
        cluster = {"worker": workers}
        tasks = [("worker", 0), ("worker", 1)]
        if has_chief:
            cluster = {"chief": workers[:1], "worker": workers[1:]}
            tasks = [("chief", 0), ("worker", 0)]
        for job, index in tasks:
            task = {"type": job, "index": index}
            hosts = {"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})}
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


def wait_for_all(processes: list[subprocess.Popen]) -> list[subprocess.CompletedProcess]:
    """Waits for the hosts of a run; after 150 seconds, kills all and fails with their output."""
    try:
        outputs = [process.communicate(timeout=150) for process in processes]
    except subprocess.TimeoutExpired:
        for process in processes:
            process.kill()
        raise AssertionError([process.communicate() for process in processes]) from None
    return [
        subprocess.CompletedProcess(process.args, process.returncode, *output)
        for process, output in zip(processes, outputs, strict=True)
    ]


def read_split(source: Source, split: str = "train", *, parts=None) -> ExampleBatch:
    """Reads a split of a source that rejects no example, sorted by id.

    Args:
      source: the source to read.
      split: name of the split.
      parts: slices to read instead of those of `split`.
    """
    parts = [part for part in source.slices() if part.split == split] if parts is None else parts
    batches = [batch for part in parts for batch in source.read(part)]
    assert all(isinstance(batch, ExampleBatch) for batch in batches)
    assert max(map(len, batches)) <= BATCH_EXAMPLES
    examples = ExampleBatch.concatenate(batches)
    assert examples.labels.dtype == np.int64
    return examples.take(np.argsort(examples.ids))


def module_command(module: str, *arguments: object) -> list[str]:
    """The command `python -m MODULE ARGUMENTS`."""
    return [sys.executable, "-m", module, *map(str, arguments)]


def limited(command: list[str], limit: str = f"-v {ADDRESS_SPACE // 1024}") -> list[str]:
    """A command with a limit of bash's `ulimit`, by default one on its address space.

    `subprocess` could set it in a `preexec_fn`, but would then fork this process with the threads
    of gRPC that other tests have started, and gRPC sometimes aborts the child.
    """
    return ["bash", "-c", f'ulimit {limit} && exec "$@"', "bash", *command]


@pytest.fixture(scope="session")
def fashion_mnist_data_dir() -> str:
    """The directory of the TFDS datasets; skips the test if Fashion-MNIST is not prepared there."""
    from components.sources import dataset_names

    data_dir = dataset_names.default_data_dir()
    if dataset_names.find_prepared("fashion_mnist", data_dir) is None:
        pytest.skip("no fashion_mnist under TFDS_DATA_DIR")
    return data_dir
