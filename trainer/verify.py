"""Does the number of replicas change the result?

Every step is taken on each number of replicas from the same state, that of the first, and what
comes of it must agree: losses and weights, up to the rounding of sums that are added up in another
order. Then all train from the beginning on their own, and the losses of the first epoch must agree.

How far apart that run ends is shown, but not judged: once rounding puts the input of a ReLU on the
other side of 0, its gradient differs by an example's part, and the weights go apart from there. The
conv preset's may differ by 1e-2 after 100 steps; were its activation smooth, they would by 2e-7.
"""

import contextlib
import dataclasses
import math
import multiprocessing
import signal
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.connection import Connection
from typing import NamedTuple

import numpy as np

from components.base import console, tensorflow_setup
from components.base.errors import ConfigError, UserError, WorkError
from components.data.prepared_dataset import PreparedDataset
from components.sources.garments import CLASS_NAMES, draw_garments
from trainer.config import TrainConfig, VerifyOptions
from trainer.devices.hosts import host

_FULL_BATCHES = 5
_WEIGHTS = "weights/"
_COLUMNS = ("loss", "weights", "loss", "loss", "weights")

Arrays = dict[str, np.ndarray]


class Trained(NamedTuple):
    """What came of some steps.

    Attributes:
      losses: of each step, summed over its examples, in nats; float64.
      state: after the last.
    """

    losses: np.ndarray
    state: Arrays


# So many steps from a state; without, from where it stands.
Train = Callable[[Arrays | None, int], Trained]


@dataclasses.dataclass
class Differences:
    """The largest relative ones from the first number of replicas.

    Attributes:
      step_loss, step_weights: after single steps from the same state.
      epoch_loss: in the first epoch of a run.
      run_loss, run_weights: in all of it, and after its last step.
    """

    step_loss: float = 0.0
    step_weights: float = 0.0
    epoch_loss: float = 0.0
    run_loss: float = 0.0
    run_weights: float = 0.0


def verify(config: TrainConfig, options: VerifyOptions) -> str:
    """Trains as `config` says on several numbers of replicas, and gives the differences as text.

    An epoch has a few full batches and then one of a single example, which leaves all replicas but
    one empty. It has far fewer steps than a real one, but there are as many epochs, or enough for
    the steps asked: learning rate and beta are those of a short run of the preset.

    Raises:
      ConfigError: the devices or the precision asked for are not there, or `options.examples` is
        no artifact of prepare.
      WorkError: they differ by more than the tolerance.
    """
    if host().count > 1:
        raise ConfigError("verify compares the replicas of one host; unset TF_CONFIG")
    images = _images(options.examples, config.batch_size)
    steps_per_epoch = -(-len(images) // config.batch_size)
    config = dataclasses.replace(
        config,
        epochs=max(config.epochs, -(-options.steps // steps_per_epoch)),
        precision="float32" if config.precision == "auto" else config.precision,
    )
    console.say(
        f"verify: {options.steps} steps of {config.batch_size} of {len(images):,} examples in "
        f"{config.precision}, on {', '.join(map(str, options.replicas))} replicas"
    )
    with contextlib.ExitStack() as stack:
        trainers = [
            stack.enter_context(_Process(dataclasses.replace(config, replicas=replicas), images))
            for replicas in options.replicas
        ]
        differences = compare(
            [trainer.train for trainer in trainers],
            steps=options.steps,
            steps_per_epoch=steps_per_epoch,
        )
    table = _table(differences, options)
    try:
        _check(differences, options)
    except WorkError:
        console.say(table)
        raise
    return f"{table}\npassed: at most {options.tolerance:g}"


def compare(trainers: Sequence[Train], *, steps: int, steps_per_epoch: int) -> list[Differences]:
    """How far each trainer but the first is from the first."""
    first, *others = trainers
    begin = first(None, 0).state
    # All must begin alike as well.
    found = [
        Differences(step_weights=_weights_difference(begin, train(None, 0).state))
        for train in others
    ]
    state = begin
    for _ in range(steps):
        expected = first(state, 1)
        for train, each in zip(others, found, strict=True):
            got = train(state, 1)
            weights = _weights_difference(expected.state, got.state)
            loss = _largest(_loss_differences(expected, got))
            each.step_loss = _largest((each.step_loss, loss))
            each.step_weights = _largest((each.step_weights, weights))
        state = expected.state
    expected = first(begin, steps)
    for train, each in zip(others, found, strict=True):
        got = train(begin, steps)
        losses = _loss_differences(expected, got)
        each.epoch_loss, each.run_loss = _largest(losses[:steps_per_epoch]), _largest(losses)
        each.run_weights = _weights_difference(expected.state, got.state)
    return found


def load_trainer(config: TrainConfig, images: np.ndarray) -> Train:
    """Takes this process's devices to train on `images`."""
    # All of these import TensorFlow.
    from components.data.batches import Batches
    from components.data.image_store import InMemoryImages
    from trainer import build

    batches = Batches(InMemoryImages(images), batch_size=config.batch_size, seed=config.seed)
    run = build.run_on(build.machine(config), config, batches)
    loop = run.loop

    def train(state: Arrays | None, num_steps: int) -> Trained:
        if state is not None:
            loop.restore(state)
        step = int(loop.state.step.numpy())
        losses: list[float] = []
        while len(losses) < num_steps:
            left = batches.steps_per_epoch - step % batches.steps_per_epoch
            sums = loop.run(min(num_steps - len(losses), loop.steps.per_call, left))
            for rate, distortion in sums.astype(np.float64):
                losses.append(distortion + float(loop.steps.beta(step)) * rate)
                step += 1
        return Trained(np.array(losses), loop.state_arrays())

    return train


class _Process:
    """A trainer in a process of its own, which ends with this one."""

    def __init__(self, config: TrainConfig, images: np.ndarray):
        self._replicas = config.replicas
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, config, images), daemon=True)
        # Ctrl-C reaches both, and is this one's to handle; the other inherits that it is deaf.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        theirs.close()

    def __enter__(self) -> "_Process":
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.kill()
        self._process.join()
        self._connection.close()

    def train(self, state: Arrays | None, num_steps: int) -> Trained:
        """As `Train`. Raises the UserError of the other process, or WorkError where that ended."""
        try:
            self._connection.send((state, num_steps))
            answer = self._connection.recv()
        except (EOFError, OSError):
            self._process.join()
            raise WorkError(
                f"the process of {self._replicas} replicas ended with exit code "
                f"{self._process.exitcode}; -9 is most likely for want of memory"
            ) from None
        if isinstance(answer, UserError):
            raise answer
        return answer


def _serve(connection: Connection, config: TrainConfig, images: np.ndarray) -> None:
    """Trains as the other end asks, until that is closed."""
    tensorflow_setup.load()  # Before it is asked for, while the other processes do the same.
    train: Train | None = None
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            request = connection.recv()
            answer: Trained | UserError
            try:
                train = train or load_trainer(config, images)
                answer = train(*request)
            except UserError as error:
                answer = error
            connection.send(answer)


def _images(examples: str, batch_size: int) -> np.ndarray:
    """Training images, one more than some full batches hold if there are so many; uint8."""
    wanted = _FULL_BATCHES * batch_size + 1
    if examples:
        images = PreparedDataset.open(examples).head("train", wanted)
    else:
        images = draw_garments(np.arange(wanted) % len(CLASS_NAMES), np.random.default_rng(0))
    if len(images) > batch_size:
        images = images[: (len(images) - 1) // batch_size * batch_size + 1]
    return images


def _loss_differences(expected: Trained, got: Trained) -> np.ndarray:
    return np.abs(got.losses - expected.losses) / np.abs(expected.losses)


def _weights_difference(expected: Arrays, got: Arrays) -> float:
    """|a - b| / |a| of the tensor where it is largest."""
    return _largest(
        _relative(array.astype(np.float64), got[name])
        for name, array in expected.items()
        if name.startswith(_WEIGHTS)
    )


def _relative(expected: np.ndarray, got: np.ndarray) -> float:
    difference, size = (float(np.linalg.norm(each)) for each in (got - expected, expected))
    # A bias that is still 0 everywhere agrees with another.
    return difference / size if size else math.inf if difference else 0.0


def _largest(values: Iterable[float]) -> float:
    """Of numbers that may be NaN, which is then the largest."""
    return float(np.max(list(values)))


def _table(differences: list[Differences], options: VerifyOptions) -> str:
    first, *others = options.replicas
    rows = [
        f"{replicas:8}  " + "  ".join(f"{each:8.1e}" for each in dataclasses.astuple(row))
        for replicas, row in zip(others, differences, strict=True)
    ]
    return "\n".join(
        [
            f"largest relative differences from replicas={first}",
            f"{'':8}  {'each step':>18}  {'epoch 1':>8}  {f'{options.steps} steps *':>18}",
            "replicas" + "".join(f"{each:>10}" for each in _COLUMNS),
            *rows,
            f"each step: from the state of replicas={first}; "
            "weights: |a - b| / |a| of the tensor where it is largest",
            "* not judged: where rounding switches a ReLU, weights go apart",
        ]
    )


def _check(differences: list[Differences], options: VerifyOptions) -> None:
    judged = [
        (figure, what, replicas)
        for replicas, each in zip(options.replicas[1:], differences, strict=True)
        for figure, what in (
            (each.step_loss, "the losses of single steps"),
            (each.step_weights, "the weights after single steps"),
            (each.epoch_loss, "the losses of the first epoch"),
        )
    ]
    # NaN is worse than any number.
    figure, what, replicas = max(judged, key=lambda each: (math.isnan(each[0]), each[0]))
    if not figure <= options.tolerance:
        raise WorkError(
            f"{what} on replicas={replicas} differ from those on replicas={options.replicas[0]} "
            f"by up to {figure:.1e}, more than {options.tolerance:g}"
        )
