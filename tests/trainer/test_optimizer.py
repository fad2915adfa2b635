import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.optimizer import OPTIMIZERS, all_finite, clip_by_global_norm

ORACLES = {"rmsprop": keras.optimizers.RMSprop, "adam": keras.optimizers.Adam}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_update_is_kerass(name):
    rng = np.random.default_rng(0)
    optimizer = OPTIMIZERS[name]
    theirs = tf.Variable(rng.normal(size=(4, 3)), dtype=tf.float32)
    ours = tf.constant(theirs)
    slots = [tf.zeros_like(ours)] * optimizer.num_slots
    oracle = ORACLES[name](learning_rate=0.01)
    for step in range(20):
        gradient = tf.constant(rng.normal(size=(4, 3)), tf.float32)
        ours, slots = optimizer.update(ours, gradient, slots, 0.01, tf.constant(step, tf.int64))
        oracle.apply([gradient], [theirs])
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_bad_element_is_found(bad):
    good = [tf.ones((2, 2)), tf.ones(3)]
    assert all_finite(good)
    assert not all_finite([*good, tf.constant([0.0, bad])])


def test_clipping_bounds_the_common_norm_and_leaves_smaller_ones():
    gradients = [tf.constant([3.0]), tf.constant([0.0, 4.0])]
    clipped = clip_by_global_norm(gradients, 1.0)
    np.testing.assert_allclose(np.concatenate(clipped), [0.6, 0.0, 0.8], rtol=1e-6)
    np.testing.assert_allclose(np.concatenate(clip_by_global_norm(gradients, 9.0)), [3, 0, 4])
