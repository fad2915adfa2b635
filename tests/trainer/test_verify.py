import math
import multiprocessing
import os
import signal
import subprocess
import threading

import numpy as np
import pytest
import tensorflow as tf

from components.base.errors import ConfigError, WorkError
from tests.conftest import ROOT, command, tiny_train_config
from trainer import verify
from trainer.config import VerifyOptions
from trainer.optimization.loop import Loop
from trainer.verify import Differences

# Not compiled, which would take the most time; the perceptron below is.
TINY = ("--network", "conv", "--widths", "4,8", "--batch_size", 20)


def figures(output: str) -> dict[int, list[float]]:
    """The rows of the table, by replicas."""
    rows = [line.split() for line in output.splitlines() if line.strip()[:1].isdigit()]
    return {int(replicas): [float(each) for each in row] for replicas, *row in rows}


def test_one_two_and_four_replicas_agree(cli):
    done = cli("trainer", "verify", "--replicas", "1,2,4", "--steps", 8, *TINY)
    assert done.returncode == 0, done.stderr
    said = "verify: 8 steps of 20 of 101 examples in float32, on 1, 2, 4 replicas\n"
    assert done.stderr == said
    assert done.stdout.splitlines()[-1] == "passed: at most 1e-05"
    table = figures(done.stdout)
    assert list(table) == [2, 4]
    # In so few steps of so small a network no ReLU is switched: even the run's weights agree.
    assert max(max(row) for row in table.values()) <= 1e-5


def test_more_than_the_tolerance_fails(cli, examples_dir):
    asked = ("--replicas", "1,2", "--tolerance", 1e-12, "--examples", examples_dir, "--steps", 1)
    done = cli("trainer", "verify", *asked, *TINY)
    assert (done.returncode, done.stdout) == (1, "")
    largest = max(figures(done.stderr)[2][:3])
    assert largest > 1e-12
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: the ")
    assert last.endswith(
        f" on replicas=2 differ from those on replicas=1 by up to {largest:.1e}, more than 1e-12"
    )


def test_the_mistake_of_a_process_arrives_as_its_own():
    here, there = multiprocessing.Pipe()
    config = tiny_train_config(precision="float16")
    process = threading.Thread(target=verify._serve, args=(there, config, verify._images("", 10)))
    process.start()
    for _ in range(2):  # However often it is asked.
        here.send((None, 1))
        error = here.recv()
        assert isinstance(error, ConfigError)
        assert str(error).startswith("precision float16 needs a GPU")
    here.close()
    process.join()


def test_a_process_that_is_killed_is_said():
    images = verify._images("", 10)
    with verify._Process(tiny_train_config(replicas=3), images) as process:
        process._process.kill()
        with pytest.raises(WorkError, match="process of 3 replicas ended with exit code -9;"):
            process.train(None, 1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_processes(number):
    process = subprocess.Popen(
        command("trainer", "verify", *TINY),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr.readline().startswith("verify: 50 steps")
    # As a terminal sends Ctrl-C: to all. A scheduler's signal reaches the first alone.
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    # The others write to the same pipes, so that these end with the last of them.
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (75, "")
    assert stderr.startswith(f"{number.name}: stopped")
    assert stderr.count("\n") == 1


def test_several_hosts_are_refused(monkeypatch):
    cluster = '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}'
    monkeypatch.setenv("TF_CONFIG", cluster)
    with pytest.raises(ConfigError, match="unset TF_CONFIG"):
        verify.verify(tiny_train_config(), VerifyOptions())


def load(replicas: int) -> verify.Train:
    config = tiny_train_config(batch_size=10, replicas=replicas)
    return verify.load_trainer(config, verify._images("", 10))


def test_a_mistake_in_the_uneven_batch_alone_is_found(monkeypatch):
    own = Loop._gradients

    def doubled(self, state, pixels, count, replica):
        """As if each of several replicas divided by what it has itself."""
        gradients, sums = own(self, state, pixels, count, replica)
        if self._strategy.num_replicas_in_sync == 1:
            return gradients, sums
        return [tf.where(count < 10, 2.0, 1.0) * gradient for gradient in gradients], sums

    monkeypatch.setattr(Loop, "_gradients", doubled)
    right, wrong = load(1), load(2)
    begin = right(None, 0).state
    # An epoch has five full batches and an uneven one. What that does, the next loss shows.
    (found,) = verify.compare([right, wrong], steps=7, steps_per_epoch=6)
    assert max(found.step_loss, found.epoch_loss) < 1e-5 < found.run_loss
    assert found.step_weights > 1e-2
    right(begin, 0), wrong(begin, 0)
    (found,) = verify.compare([right, wrong], steps=5, steps_per_epoch=6)
    assert max(found.step_weights, found.run_loss) < 1e-5


def test_losses_are_those_of_the_objective():
    config = tiny_train_config(batch_size=10, beta=0.5, beta_schedule="linear")
    train = verify.load_trainer(config, verify._images("", 10))
    begin = train(None, 0).state
    whole = train(None, 8)
    assert len(whole.losses) == 8
    assert (int(begin["step"]), int(whole.state["step"])) == (0, 8)
    # In pieces, each from the state that the one before left.
    first = train(begin, 3)
    rest = train(first.state, 5)
    np.testing.assert_array_equal([*first.losses, *rest.losses], whole.losses)
    # Beta is 0 at first, so that the first loss is its distortion: near 784 bits at first.
    assert whole.losses[0] / 10 == pytest.approx(784 * math.log(2), rel=0.1)


@pytest.mark.parametrize(("batch_size", "count"), [(10, 51), (100, 501), (300, 301), (1000, None)])
def test_the_last_batch_is_one_example(example_set, examples_dir, batch_size, count):
    images = verify._images(str(examples_dir), batch_size)
    everything = example_set.images("train")
    np.testing.assert_array_equal(images, everything[:count])
    drawn = verify._images("", batch_size)
    assert len(drawn) == 5 * batch_size + 1
    assert drawn.dtype == np.uint8


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([3.0, 4.0], [3.0, 4.0], 0.0),
        ([3.0, 4.0], [3.0, 4.5], 0.1),
        ([0.0, 0.0], [0.0, 0.0], 0.0),
        ([0.0, 0.0], [0.0, 1.0], math.inf),
        ([1.0, 1.0], [math.nan, 1.0], math.nan),
    ],
)
def test_the_relative_difference(a, b, expected):
    found = verify._relative(np.array(a), np.array(b))
    assert found == pytest.approx(expected, nan_ok=True)


def test_what_is_not_a_number_passes_nowhere():
    differences = [Differences(step_weights=0.5), Differences(epoch_loss=math.nan)]
    with pytest.raises(WorkError, match=r"losses of the first epoch on replicas=4 .* by up to nan"):
        verify._check(differences, VerifyOptions(tolerance=1.0))
    with pytest.raises(WorkError, match=r"weights after single steps on replicas=2 .*5.0e-01"):
        verify._check(differences[:1], VerifyOptions(replicas=(1, 2)))
    # How far apart a run ends is not judged.
    verify._check([Differences(run_loss=1.0, run_weights=1.0)], VerifyOptions(replicas=(1, 2)))
