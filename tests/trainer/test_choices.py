import subprocess
import sys

import pytest

from tests.conftest import ROOT
from trainer import choices
from trainer.optimization import optimizer
from trainer.optimization.schedules import BetaSchedule, LearningRate


@pytest.mark.parametrize("name", choices.OPTIMIZERS)
def test_every_optimizer_is_an_update_rule(name):
    rule = choices.OPTIMIZERS[name]()
    assert rule.num_slots((3, 2)) in (1, 2)
    assert callable(rule.update)


def test_optimizers_with_decay_are_optimizers():
    assert set(choices.OPTIMIZERS_WITH_DECAY) < set(choices.OPTIMIZERS)


def test_adamw_is_adam_with_decay():
    assert choices.OPTIMIZERS["adamw"] is choices.OPTIMIZERS["adam"] is optimizer.Adam
    assert "adamw" in choices.OPTIMIZERS_WITH_DECAY
    assert "adam" not in choices.OPTIMIZERS_WITH_DECAY


@pytest.mark.parametrize("name", choices.LEARNING_RATE_SCHEDULES)
def test_every_learning_rate_schedule_is_one(name):
    assert issubclass(choices.LEARNING_RATE_SCHEDULES[name], LearningRate)


@pytest.mark.parametrize("name", choices.BETA_SCHEDULES)
def test_every_beta_schedule_is_one(name):
    assert issubclass(choices.BETA_SCHEDULES[name], BetaSchedule)


def test_names_are_known_without_tensorflow():
    script = (
        "import sys\n"
        "from trainer import choices\n"
        "assert list(choices.OPTIMIZERS) and 'cosine' in choices.LEARNING_RATE_SCHEDULES\n"
        "assert 'tensorflow' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
