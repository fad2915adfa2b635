"""Checks that the number of replicas does not change the result of training.

First, single steps: on every number of replicas, each step starts from the state of the first run.
Losses and weights must agree, except for the rounding of sums that are added up in another order.
Then every run trains on its own from the initial weights, and the losses of the first epoch must
agree.

The differences at the end of these runs are reported but not judged. Once rounding has put the
input of a ReLU on the other side of 0, an example's gradient is cut off there, and the weights
diverge. With the conv preset they may differ by 1e-2 after 100 steps; with a smooth activation
function in place of ReLU, they differ by 2e-7.
"""

import contextlib
import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from components.base import console
from components.base.arithmetic import ceil_div
from components.base.errors import ConfigError, WorkError
from components.data.prepared_dataset import PreparedDataset
from components.sources.garments import CLASS_NAMES, draw_garments
from trainer.config import TrainConfig, VerifyOptions
from trainer.devices.hosts import host
from trainer.verification.comparison import Differences, compare
from trainer.verification.trainer_process import TrainerProcess

_NUM_FULL_BATCHES = 5
# The columns of the table, in the order of the fields of `Differences`.
_COLUMNS = ("loss", "weights", "loss", "loss", "weights")


def verify(config: TrainConfig, options: VerifyOptions) -> str:
    """Trains on several numbers of replicas, and returns the differences as text.

    An epoch consists of a few full batches and a last one with a single example, which leaves all
    replicas but one without any. The learning rate and beta follow their schedules over
    `config.epochs` of these short epochs, or more if the number of steps requires it.

    Args:
      config: settings of the training.
      options: what to compare.

    Raises:
      ConfigError: this host does not have the devices, cannot compute in the precision, or is one
        of several; or `options.examples` is not an artifact of prepare, or lacks the labels that
        the config asks for.
      WorkError: the differences exceed the tolerance.
    """
    if host().count > 1:
        raise ConfigError("verify compares the replicas of one host; unset TF_CONFIG")
    images, labels, class_names = _examples(options.examples, config.batch_size)
    classes = config.classes(class_names)
    steps_per_epoch = ceil_div(len(images), config.batch_size)
    config = dataclasses.replace(
        config,
        epochs=max(config.epochs, ceil_div(options.steps, steps_per_epoch)),
        # In half precision, different orders of summation differ by far more than the tolerance.
        precision="float32",
    )
    console.say(
        f"verify: {options.steps} steps, batch size {config.batch_size}, {len(images):,} examples, "
        f"{config.precision}; replicas: {', '.join(map(str, options.replicas))}"
    )
    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(
                TrainerProcess(
                    dataclasses.replace(config, replicas=replicas),
                    images,
                    labels if classes else None,
                    classes=classes,
                )
            )
            for replicas in options.replicas
        ]
        differences = compare(
            [process.train for process in processes],
            steps=options.steps,
            steps_per_epoch=steps_per_epoch,
        )
    table = _table(differences, options)
    try:
        _check(differences, options)
    except WorkError:
        console.say(*table.split("\n"))
        raise
    return f"{table}\npassed: no judged difference exceeds {options.tolerance:g}"


def _examples(examples: str, batch_size: int) -> tuple[np.ndarray, np.ndarray, Sequence[str]]:
    """Training images for a few full batches and one more image.

    From a smaller dataset, as many full batches as it has examples for, and one more image.

    Args:
      examples: directory of a prepared dataset; empty for synthetic images.
      batch_size: number of images in a full batch.

    Returns:
      Images, uint8 [N, height, width, channels]; their labels, int32 [N]; and the names of the
      classes.
    """
    wanted = _NUM_FULL_BATCHES * batch_size + 1
    if examples:
        dataset = PreparedDataset.open(examples)
        head = dataset.head("train", wanted)
        images, labels, class_names = head.images, head.labels, dataset.class_names
    else:
        labels, class_names = np.arange(wanted) % len(CLASS_NAMES), list(CLASS_NAMES)
        images = draw_garments(labels, np.random.default_rng(0))
    count = len(images)
    if count > batch_size:
        count = (count - 1) // batch_size * batch_size + 1
    return images[:count], labels[:count].astype(np.int32), class_names


def _table(differences: list[Differences], options: VerifyOptions) -> str:
    first, *others = options.replicas
    rows = [
        f"{replicas:8}  " + "  ".join(f"{value:8.1e}" for value in dataclasses.astuple(row))
        for replicas, row in zip(others, differences, strict=True)
    ]
    return "\n".join(
        [
            f"largest relative differences from replicas={first}",
            f"{'':8}  {'each step':>18}  {'epoch 1':>8}  {f'{options.steps} steps *':>18}",
            "replicas" + "".join(f"{column:>10}" for column in _COLUMNS),
            *rows,
            f"each step: starting from the state of replicas={first}; "
            "weights: |a - b| / |a| of the tensor for which it is largest",
            "* not judged: weights diverge once rounding has switched a ReLU",
        ]
    )


def _check(differences: list[Differences], options: VerifyOptions) -> None:
    """Checks the differences that are judged.

    Raises:
      WorkError: one of them exceeds the tolerance, or is NaN.
    """
    judged = [
        (value, subject, replicas)
        for replicas, row in zip(options.replicas[1:], differences, strict=True)
        for value, subject in (
            (row.step_loss, "the losses of single steps"),
            (row.step_weights, "the weights after single steps"),
            (row.epoch_loss, "the losses of the first epoch"),
        )
    ]
    # NaN counts as worse than any number.
    value, subject, replicas = max(judged, key=lambda entry: (math.isnan(entry[0]), entry[0]))
    if not value <= options.tolerance:
        raise WorkError(
            f"{subject} on replicas={replicas} differ from those on replicas={options.replicas[0]} "
            f"by up to {value:.1e}, more than {options.tolerance:g}"
        )
