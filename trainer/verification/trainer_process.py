"""Training in separate processes, to compare different numbers of devices.

TensorFlow configures the devices of a process once, so each number of replicas needs its own.
"""

import contextlib
import multiprocessing
from multiprocessing.connection import Connection

import numpy as np

from components.base import child_processes, tensorflow_setup
from components.base.errors import UserError, WorkError
from trainer.config import TrainConfig
from trainer.verification.comparison import StateArrays, TrainFunction, TrainResult


class TrainerProcess:
    """A process that trains on request. It ends with its parent.

    Args:
      config: settings of the training.
      images: training images, uint8, shape [N, height, width, channels].
      labels: of the images, int32 [N], for a conditional model.
      classes: number of labels that the model is conditioned on.
    """

    def __init__(
        self,
        config: TrainConfig,
        images: np.ndarray,
        labels: np.ndarray | None = None,
        *,
        classes: int = 0,
    ):
        self._replicas = config.replicas
        context = multiprocessing.get_context("spawn")
        self._connection, child_connection = context.Pipe()
        self._process = context.Process(
            target=serve,
            args=(child_connection, config, images, labels, classes),
            daemon=True,
        )
        with child_processes.without_signals():
            self._process.start()
        child_connection.close()

    def __enter__(self) -> "TrainerProcess":
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.kill()
        self._process.join()
        self._connection.close()

    def train(self, state: StateArrays | None, num_steps: int) -> TrainResult:
        """Trains for some steps; a `TrainFunction`.

        Raises:
          UserError: the training raised it in the process.
          WorkError: the process ended.
        """
        try:
            self._connection.send((state, num_steps))
            answer = self._connection.recv()
        except (EOFError, OSError):
            self._process.join()
            raise WorkError(
                f"the process of {self._replicas} replicas ended with exit code "
                f"{self._process.exitcode}; -9 most likely means that memory ran out"
            ) from None
        if isinstance(answer, UserError):
            raise answer
        return answer


def serve(
    connection: Connection,
    config: TrainConfig,
    images: np.ndarray,
    labels: np.ndarray | None = None,
    classes: int = 0,
) -> None:
    """Answers requests to train until the other end of the connection is closed."""
    child_processes.end_with_parent()
    # Before the first request, so that all processes load TensorFlow at the same time.
    tensorflow_setup.load()
    train: TrainFunction | None = None
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            request = connection.recv()
            answer: TrainResult | UserError
            try:
                train = train or load_trainer(config, images, labels, classes=classes)
                answer = train(*request)
            except UserError as error:
                answer = error
            connection.send(answer)


def load_trainer(
    config: TrainConfig,
    images: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    classes: int = 0,
) -> TrainFunction:
    """Claims this process's devices, and returns a function that trains on the images."""
    # These modules import TensorFlow.
    from components.data.batches import Batches
    from components.data.image_store import InMemoryImages
    from trainer import build

    batches = Batches(
        InMemoryImages(images), batch_size=config.batch_size, seed=config.seed, labels=labels
    )
    run = build.build_run_on(build.claim_devices(config), config, batches, classes=classes)
    loop, step_config = run.loop, run.loop.step_config

    def train(state: StateArrays | None, num_steps: int) -> TrainResult:
        if state is not None:
            loop.restore(state)
        step = int(loop.state.step.numpy())
        losses: list[float] = []
        while len(losses) < num_steps:
            left_in_epoch = batches.steps_per_epoch - step % batches.steps_per_epoch
            left = num_steps - len(losses)
            sums = loop.run(min(left, step_config.steps_per_call, left_in_epoch))
            for rate, distortion in sums.astype(np.float64):
                losses.append(distortion + float(step_config.beta(step)) * rate)
                step += 1
        return TrainResult(np.array(losses), loop.state_arrays())

    return train
