import numpy as np
import tensorflow as tf

from components.model.likelihoods.log_scales import bounded

BOUNDS = {"start": -2.0, "low": -8.0, "high": 1.0}


def test_the_log_scales_are_bounded_and_increase_with_the_outputs():
    log_scales = bounded(tf.constant([-1e4, -20.0, -1.0, 0.0, 1.0, 5.0, 1e4]), **BOUNDS).numpy()
    np.testing.assert_allclose(log_scales[[0, 3, -1]], [-8, -2, 1])
    assert (np.diff(log_scales) > 0).all()


def test_the_derivative_is_1_at_an_output_of_0_and_positive_beyond_the_bounds():
    outputs = tf.constant([-20.0, 0.0, 10.0])
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        log_scales = bounded(outputs, **BOUNDS)
    by_outputs = tape.gradient(log_scales, outputs).numpy()
    assert by_outputs[1] == 1
    assert (by_outputs > 0).all()
