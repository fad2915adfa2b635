import math
import os
import signal
import subprocess

import numpy as np
import pytest
import tensorflow as tf

from components.base.errors import ConfigError, WorkError
from tests.conftest import ROOT, module_command, tiny_train_config
from trainer import verify
from trainer.config import VerifyOptions
from trainer.optimization.loop import Loop
from trainer.verification.comparison import Differences, TrainFunction, compare
from trainer.verification.trainer_process import load_trainer

# XLA does not compile a convolutional network on the CPU, which saves most of the time.
TINY = ("--network", "conv", "--widths", "4,8", "--batch_size", 20)


def figures(output: str) -> dict[int, list[float]]:
    """The rows of the table, by the number of replicas."""
    rows = [line.split() for line in output.splitlines() if line.strip()[:1].isdigit()]
    return {int(replicas): [float(value) for value in row] for replicas, *row in rows}


def test_one_two_and_four_replicas_agree(cli):
    done = cli("trainer", "verify", "--replicas", "1,2,4", "--steps", 8, *TINY)
    assert done.returncode == 0, done.stderr
    message = "verify: 8 steps, batch size 20, 101 examples, float32; replicas: 1, 2, 4\n"
    assert done.stderr == message
    assert done.stdout.splitlines()[-1] == "passed: no judged difference exceeds 1e-05"
    table = figures(done.stdout)
    assert list(table) == [2, 4]
    # In a few steps of a small network rounding switches no ReLU, so the weights agree as well.
    assert max(max(row) for row in table.values()) <= 1e-5


def test_differences_above_the_tolerance_are_an_error(cli, examples_dir):
    options = ("--replicas", "1,2", "--tolerance", 1e-12, "--examples", examples_dir, "--steps", 1)
    done = cli("trainer", "verify", *options, *TINY)
    assert (done.returncode, done.stdout) == (1, "")
    largest = max(figures(done.stderr)[2][:3])
    assert largest > 1e-12
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: the ")
    assert last.endswith(
        f" on replicas=2 differ from those on replicas=1 by up to {largest:.1e}, more than 1e-12"
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_processes(number):
    process = subprocess.Popen(
        module_command("trainer", "verify", *TINY),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr.readline().startswith("verify: 50 steps")
    # A terminal sends Ctrl-C to all processes, a scheduler sends its signal to the first.
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    # All processes write to these pipes, which end with the last process.
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (75, "")
    assert stderr.startswith(f"{number.name}: stopped")
    assert stderr.count("\n") == 1


def test_several_hosts_are_rejected(monkeypatch):
    cluster = '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}'
    monkeypatch.setenv("TF_CONFIG", cluster)
    with pytest.raises(ConfigError, match="unset TF_CONFIG"):
        verify.verify(tiny_train_config(), VerifyOptions())


def load(replicas: int) -> TrainFunction:
    config = tiny_train_config(batch_size=10, replicas=replicas)
    images, _, _ = verify._examples("", 10)
    return load_trainer(config, images)


def test_an_error_in_the_gradients_of_uneven_batches_is_detected(monkeypatch):
    original = Loop._gradients

    def doubled(self, state, pixels, count, replica):
        """Doubles the gradients of uneven batches, as if every replica divided by its own count."""
        gradients, sums = original(self, state, pixels, count, replica)
        if self._strategy.num_replicas_in_sync == 1:
            return gradients, sums
        return [tf.where(count < 10, 2.0, 1.0) * gradient for gradient in gradients], sums

    monkeypatch.setattr(Loop, "_gradients", doubled)
    correct, wrong = load(1), load(2)
    initial_state = correct(None, 0).state
    # Five full batches and an uneven one. The next step has the first loss that shows the error.
    (differences,) = compare([correct, wrong], steps=7, steps_per_epoch=6)
    assert max(differences.step_loss, differences.epoch_loss) < 1e-5 < differences.run_loss
    assert differences.step_weights > 1e-2
    correct(initial_state, 0), wrong(initial_state, 0)
    # Without the uneven batch there is no difference.
    (differences,) = compare([correct, wrong], steps=5, steps_per_epoch=6)
    assert max(differences.step_weights, differences.run_loss) < 1e-5


@pytest.mark.parametrize(("batch_size", "count"), [(10, 51), (100, 501), (300, 301), (1000, None)])
def test_the_last_batch_has_one_example(example_set, examples_dir, batch_size, count):
    images, labels, class_names = verify._examples(str(examples_dir), batch_size)
    expected = example_set.read("train")
    np.testing.assert_array_equal(images, expected.images[:count])
    np.testing.assert_array_equal(labels, expected.labels[:count])
    assert class_names == example_set.class_names
    synthetic, labels, class_names = verify._examples("", batch_size)
    assert len(synthetic) == len(labels) == 5 * batch_size + 1
    assert (synthetic.dtype, labels.dtype) == (np.uint8, np.int32)
    assert set(labels.tolist()) <= set(range(len(class_names)))


def test_nan_exceeds_every_tolerance():
    differences = [Differences(step_weights=0.5), Differences(epoch_loss=math.nan)]
    with pytest.raises(WorkError, match=r"losses of the first epoch on replicas=4 .* by up to nan"):
        verify._check(differences, VerifyOptions(tolerance=1.0))


def test_single_steps_and_the_first_epoch_are_judged_but_not_the_run():
    options = VerifyOptions(replicas=(1, 2))
    with pytest.raises(WorkError, match=r"weights after single steps on replicas=2 .*5.0e-01"):
        verify._check([Differences(step_weights=0.5)], options)
    verify._check([Differences(run_loss=1.0, run_weights=1.0)], options)
