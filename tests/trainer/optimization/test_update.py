import numpy as np
import pytest
import tensorflow as tf

from trainer.choices import OPTIMIZERS
from trainer.devices.precision import LossScale
from trainer.optimization.schedules import CosineRate
from trainer.optimization.update import State, Update

RNG = np.random.default_rng(0)
WEIGHTS = [RNG.normal(size=(3, 2)).astype(np.float32), RNG.normal(size=2).astype(np.float32)]
SCALE = LossScale(initial=2.0**10, growth_steps=3)


def gradients(count: int) -> list[list[np.ndarray]]:
    """The gradients of several steps."""
    rng = np.random.default_rng(1)
    return [[rng.normal(size=w.shape).astype(np.float32) for w in WEIGHTS] for _ in range(count)]


def overflowing(kind: float) -> list[np.ndarray]:
    """Gradients with one element that is not finite."""
    gradients = [np.ones_like(weight) for weight in WEIGHTS]
    gradients[1][1] = kind
    return gradients


def make(rule: str = "adam", *, rate: float = 0.1, warmup_steps: int = 0, **kwargs) -> Update:
    learning_rate = CosineRate(peak=rate, total_steps=100, warmup_steps=warmup_steps)
    return Update(OPTIMIZERS[rule](), learning_rate, **kwargs)


def start(update: Update) -> State:
    return update.initial_state([tf.Variable(weight) for weight in WEIGHTS]).read()


def run(update: Update, all_gradients: list[list[np.ndarray]]) -> State:
    """The state after steps with these gradients."""
    state = start(update)
    for step_gradients in all_gradients:
        state = update(state, [tf.constant(g) * state.loss_scale for g in step_gradients])
    return state


def flat(state: State) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in state.named().items()}


def test_the_initial_state_has_the_weights_and_zeros():
    state = flat(start(make(ema_decay=0.9, loss_scale=SCALE)))
    assert list(state) == [
        "weights/0000", "weights/0001",
        "slots/0000/0", "slots/0000/1", "slots/0001/0", "slots/0001/1",
        "averages/0000", "averages/0001",
        "step", "updates", "loss_scale", "good_steps",
    ]  # fmt: skip
    for index, weight in enumerate(WEIGHTS):
        np.testing.assert_array_equal(state[f"weights/{index:04d}"], weight)
        np.testing.assert_array_equal(state[f"averages/{index:04d}"], weight)
    assert not any(array.any() for name, array in state.items() if name.startswith("slots/"))
    assert [state[name] for name in list(state)[-4:]] == [0, 0, 2.0**10, 0]


def test_the_number_of_slots_may_depend_on_a_weights_shape():
    names = [name for name in start(make("muon")).named() if name.startswith("slots/")]
    assert names == ["slots/0000/0", "slots/0001/0", "slots/0001/1"]


def test_without_ema_decay_and_float16_there_are_no_averages_and_the_scale_is_1():
    state = run(make("rmsprop"), gradients(2))
    assert state.averages == []
    assert (state.loss_scale, state.good_steps, state.step, state.updates) == (1, 0, 2, 2)


def test_the_learning_rate_depends_on_the_number_of_updates():
    update = make("rmsprop", warmup_steps=3)
    expected = [weight.astype(np.float64) for weight in WEIGHTS]
    squares = [np.zeros(weight.shape) for weight in WEIGHTS]
    for step, step_gradients in enumerate(gradients(5)):
        rate = 0.1 * min(1, (step + 1) / 3) * 0.5 * (1 + np.cos(np.pi * step / 100))
        squares = [0.9 * s + 0.1 * g**2 for s, g in zip(squares, step_gradients, strict=True)]
        expected = [
            w - rate * g / np.sqrt(s + 1e-7)
            for w, g, s in zip(expected, step_gradients, squares, strict=True)
        ]
    for ours, wanted in zip(run(update, gradients(5)).weights, expected, strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=1e-5)


@pytest.mark.parametrize("decay", [0.2, 0.999])
def test_the_decay_of_the_averages_grows_up_to_its_limit(decay):
    update = make(ema_decay=decay)
    averages = WEIGHTS
    for step in range(6):
        weights = run(update, gradients(step + 1)).weights
        # min(decay, (1 + step) / (10 + step)), as in tf.train.ExponentialMovingAverage
        kept = min(decay, (1 + step) / (10 + step))
        averages = [kept * a + (1 - kept) * w for a, w in zip(averages, weights, strict=True)]
    for ours, wanted in zip(run(update, gradients(6)).averages, averages, strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=1e-5)


@pytest.mark.parametrize("loss_scale", [None, SCALE])
def test_clipping_bounds_the_norm_of_the_unscaled_gradients(loss_scale):
    update = make(clip_norm=0.5, loss_scale=loss_scale)
    [step_gradients] = gradients(1)
    norm = np.linalg.norm(np.concatenate([g.ravel() for g in step_gradients]))
    assert norm > 1
    state = run(update, [step_gradients])
    for slots, gradient in zip(state.slots, step_gradients, strict=True):
        # Adam's first moment is a tenth of the first gradient.
        np.testing.assert_allclose(slots[0], 0.1 * gradient * 0.5 / norm, rtol=1e-5)


@pytest.mark.parametrize("loss_scale", [None, SCALE])
def test_gradients_below_the_bound_are_unchanged(loss_scale):
    free = run(make(loss_scale=loss_scale), gradients(2))
    bounded = run(make(loss_scale=loss_scale, clip_norm=1e3), gradients(2))
    for name, array in flat(bounded).items():
        np.testing.assert_allclose(array, flat(free)[name], rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("kind", [np.inf, -np.inf, np.nan])
def test_an_overflow_changes_only_the_step_and_the_scale(kind):
    update = make(ema_decay=0.9, clip_norm=1.0, warmup_steps=10, loss_scale=SCALE)
    before = flat(run(update, gradients(2)))
    after = flat(run(update, [*gradients(2), overflowing(kind)]))
    changed = {"step": 3, "loss_scale": 2.0**9, "good_steps": 0}
    for name, array in after.items():
        np.testing.assert_array_equal(array, changed.get(name, before[name]), err_msg=name)


@pytest.mark.parametrize("rule", OPTIMIZERS)
def test_skipped_steps_leave_no_trace_in_later_steps(rule):
    """Neither in the bias corrections nor in the learning rate or the decay of the averages."""
    update = make(rule, ema_decay=0.9, warmup_steps=10, loss_scale=SCALE)
    first, second, third = gradients(3)
    without = flat(run(update, [first, second, third]))
    skipped = flat(run(update, [overflowing(np.inf), first, overflowing(np.nan), second, third]))
    assert (skipped["step"], skipped["updates"], without["updates"]) == (5, 3, 3)
    for name in without.keys() - {"step", "loss_scale", "good_steps"}:
        # The scale is a power of two, so multiplying and dividing by it is exact.
        np.testing.assert_array_equal(skipped[name], without[name], err_msg=name)


def test_the_scale_doubles_only_after_good_steps():
    update = make(loss_scale=SCALE)
    a, b, c, d = gradients(4)
    scales = [
        float(run(update, steps).loss_scale)
        for steps in ([a, b], [a, b, c], [a, b, overflowing(np.inf), c, d])
    ]
    assert scales == [2.0**10, 2.0**11, 2.0**9]


def test_without_a_loss_scale_bad_gradients_reach_the_weights():
    """In float32 they are not skipped, so that the run ends with an error."""
    assert np.isnan(run(make(), [overflowing(np.nan)]).weights[1]).any()
