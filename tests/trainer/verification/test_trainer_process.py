import math
import multiprocessing
import threading

import numpy as np
import pytest

from components.base.errors import ConfigError, WorkError
from tests.conftest import tiny_train_config
from trainer.verification.trainer_process import TrainerProcess, load_trainer, serve

IMAGES = np.random.default_rng(0).integers(0, 256, (51, 8, 8, 1), np.uint8)


def test_losses_are_those_of_the_objective():
    config = tiny_train_config(batch_size=10, beta=0.5, beta_schedule="linear")
    train = load_trainer(config, IMAGES)
    initial_state = train(None, 0).state
    result = train(None, 8)
    assert len(result.losses) == 8
    assert (int(initial_state["step"]), int(result.state["step"])) == (0, 8)
    # In two parts, the second from the state after the first.
    first = train(initial_state, 3)
    second = train(first.state, 5)
    np.testing.assert_array_equal([*first.losses, *second.losses], result.losses)
    # Beta is 0 in the first step, so its loss is the distortion: about a bit per pixel.
    assert result.losses[0] / 10 == pytest.approx(64 * math.log(2), rel=0.2)


def test_an_error_in_the_process_is_raised_in_the_parent():
    parent, child = multiprocessing.Pipe()
    config = tiny_train_config(precision="float16")
    thread = threading.Thread(target=serve, args=(child, config, IMAGES))
    thread.start()
    for _ in range(2):  # The process answers further requests.
        parent.send((None, 1))
        error = parent.recv()
        assert isinstance(error, ConfigError)
        assert str(error).startswith("precision float16 needs a GPU")
    parent.close()
    thread.join()


def test_a_killed_process_is_an_error():
    with TrainerProcess(tiny_train_config(replicas=3), IMAGES) as process:
        process._process.kill()
        with pytest.raises(WorkError, match="process of 3 replicas ended with exit code -9;"):
            process.train(None, 1)


def test_a_conditional_model_trains_on_the_labels():
    config = tiny_train_config(batch_size=10)
    labels = (np.arange(51) % 3).astype(np.int32)
    first, second = (
        load_trainer(config, IMAGES, given, classes=3)(None, 6).losses
        for given in (labels, labels[::-1])
    )
    assert np.isfinite(first).all()
    assert (first[1:] != second[1:]).all()
