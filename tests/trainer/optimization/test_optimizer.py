import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.choices import OPTIMIZERS, OPTIMIZERS_WITH_DECAY
from trainer.optimization import optimizer
from trainer.optimization.optimizer import WeightDecay

# Muon's oracle is in its own tests, since Keras's Muon does not take the kernels of convolutions.
ORACLES = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "rmsprop": keras.optimizers.RMSprop,
    "lamb": keras.optimizers.Lamb,
    "lion": keras.optimizers.Lion,
}
# Every optimizer without weight decay, and with it if it supports it.
SETTINGS = [(name, 0.0) for name in ORACLES]
SETTINGS += [(name, 0.3) for name in OPTIMIZERS_WITH_DECAY if name in ORACLES]
SHAPES = {"dense": (5, 3), "convolution": (2, 2, 3, 4), "one_column": (7, 1), "bias": (6,)}
# Gradients far above epsilon, near it and far below it, and a zero.
SCALES = np.array([1e3, 1.0, 1e-3, 1e-6, 1e-7, 1e-9, 0.0])


def updates(name: str, weight_decay: float, *, compiled: bool):
    """The optimizer, and its update of several parameters as a function of tensors."""
    rule = OPTIMIZERS[name]()
    if weight_decay:
        rule = WeightDecay(rule, weight_decay)

    def update(parameters, gradients, slots, rate, step):
        pairs = zip(parameters, gradients, slots, strict=True)
        results = [rule.update(*pair, rate, step) for pair in pairs]
        return [parameter for parameter, _ in results], [slots for _, slots in results]

    return rule, tf.function(update, jit_compile=True) if compiled else update


def test_every_optimizer_has_an_oracle():
    assert set(OPTIMIZERS) == {*ORACLES, "muon"}


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize(("name", "weight_decay"), SETTINGS)
def test_the_update_agrees_with_keras(name, weight_decay, compiled):
    rng = np.random.default_rng(0)
    ours = [tf.constant(rng.normal(size=shape), tf.float32) for shape in SHAPES.values()]
    ours.append(tf.zeros(3))  # Biases start at zero.
    theirs = [tf.Variable(parameter) for parameter in ours]
    oracle = ORACLES[name](weight_decay=weight_decay)
    oracle.exclude_from_weight_decay([variable for variable in theirs if variable.shape.rank < 2])
    rule, update = updates(name, weight_decay, compiled=compiled)
    slots = [[tf.zeros_like(parameter)] * rule.num_slots(parameter.shape) for parameter in ours]
    for step, rate in enumerate(np.float32([1e-2, 3e-2, 1e-1, 1e-3, 0.0] * 2)):
        gradients = [
            tf.constant(rng.normal(size=p.shape) * np.resize(SCALES, p.shape), tf.float32)
            for p in ours
        ]
        ours, slots = update(ours, gradients, slots, tf.constant(rate), tf.constant(step, tf.int64))
        oracle.learning_rate = rate
        oracle.apply(gradients, theirs)
        for actual, expected in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(actual, expected, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS_WITH_DECAY)
def test_without_gradients_kernels_decay_and_biases_do_not(name):
    """For LAMB this is the case of a direction of norm 0."""
    rule, update = updates(name, 0.5, compiled=True)
    parameters = [tf.fill(shape, 2.0) for shape in SHAPES.values()]
    slots = [[tf.zeros_like(p)] * rule.num_slots(p.shape) for p in parameters]
    gradients = [tf.zeros_like(p) for p in parameters]
    for step in range(3):
        parameters, slots = update(
            parameters, gradients, slots, tf.constant(0.1), tf.constant(step, tf.int64)
        )
    for shape, parameter in zip(SHAPES.values(), parameters, strict=True):
        expected = 2.0 * 0.95**3 if len(shape) >= 2 else 2.0
        np.testing.assert_allclose(parameter, np.full(shape, expected), rtol=1e-6)


def test_the_norm_of_lambs_step_is_the_rate_times_the_parameters_norm():
    _, update = updates("lamb", 0.0, compiled=True)
    rng = np.random.default_rng(0)
    parameters = [tf.constant(rng.normal(size=(300, 200)), tf.float32), tf.zeros((4, 4))]
    gradients = [tf.constant(rng.normal(size=p.shape), tf.float32) for p in parameters]
    slots = [[tf.zeros_like(p)] * 2 for p in parameters]
    new, _ = update(parameters, gradients, slots, tf.constant(0.01), tf.constant(0, tf.int64))
    length = np.linalg.norm(np.float64(new[0]) - np.float64(parameters[0]))
    np.testing.assert_allclose(length, 0.01 * np.linalg.norm(np.float64(parameters[0])), rtol=1e-5)
    # The first direction is the gradient's sign.
    np.testing.assert_allclose(new[1], -0.01 * np.sign(gradients[1]), rtol=1e-4)


@pytest.mark.parametrize("compiled", [True, False])
def test_averages_agree_with_tensorflow(compiled):
    rng = np.random.default_rng(0)
    weights = [tf.Variable(rng.normal(size=shape), dtype=tf.float32) for shape in SHAPES.values()]
    num_updates = tf.Variable(0, dtype=tf.int64)
    oracle = tf.train.ExponentialMovingAverage(0.9, num_updates)
    averages = [tf.constant(weight) for weight in weights]
    averaged = tf.function(optimizer.update_averages, jit_compile=compiled)
    for step in range(90):  # The decay is 0.9 from step 80 on.
        for weight in weights:
            weight.assign(rng.normal(size=weight.shape))
        num_updates.assign(step)
        values = [tf.constant(weight) for weight in weights]
        averages = averaged(averages, values, decay=0.9, step=tf.constant(step, tf.int64))
        if step == 0:  # The oracle starts from the weights of its first call.
            averages = values
        oracle.apply(weights)
        for average, weight in zip(averages, weights, strict=True):
            np.testing.assert_allclose(average, oracle.average(weight), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("step", "kept"), [(0, 0.1), (8, 0.5), (8_989, 8_990 / 8_999), (10**7, 0.9999)]
)
def test_the_decay_of_the_averages_grows_from_a_tenth(step, kept):
    averages = optimizer.update_averages(
        [tf.constant([0.0])], [tf.constant([1.0])], decay=0.9999, step=tf.constant(step, tf.int64)
    )
    np.testing.assert_allclose(averages, [[1 - kept]], rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_all_finite_finds_one_bad_element(bad):
    good = [tf.ones((2, 2)), tf.ones(3)]
    assert optimizer.all_finite(good)
    assert not optimizer.all_finite([*good, tf.constant([0.0, bad])])


def test_clipping_bounds_the_global_norm_and_keeps_smaller_gradients():
    gradients = [tf.constant([3.0]), tf.constant([0.0, 4.0])]
    clipped = optimizer.clip_by_global_norm(gradients, 1.0)
    np.testing.assert_allclose(np.concatenate(clipped), [0.6, 0.0, 0.8], rtol=1e-6)
    np.testing.assert_allclose(
        np.concatenate(optimizer.clip_by_global_norm(gradients, 9.0)), [3, 0, 4]
    )
    zeros = optimizer.clip_by_global_norm([tf.zeros((2, 2)), tf.zeros(3)], 1.0)
    assert all(not zero.numpy().any() for zero in zeros)


def test_the_global_norm_of_large_gradients_is_accurate():
    rng = np.random.default_rng(0)
    # Far from 0, where a running sum in float32 would lose digits.
    gradients = [rng.uniform(1, 2, size=shape) for shape in [(784, 256), (4, 4, 32, 64), (500,)]]
    clip = tf.function(optimizer.clip_by_global_norm, jit_compile=True)
    clipped = clip([tf.constant(g, tf.float32) for g in gradients], 1.0)
    norm = np.sqrt(sum(np.sum(g**2) for g in gradients))
    for actual, gradient in zip(clipped, gradients, strict=True):
        np.testing.assert_allclose(actual, gradient / norm, rtol=1e-6)
