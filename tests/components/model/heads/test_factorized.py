import numpy as np
import tensorflow as tf

from components.model.heads.factorized import FactorizedHead
from components.model.heads.head import HeadSettings
from components.model.likelihoods.bernoulli import BINARIZED


def test_the_outputs_are_the_decoders_whatever_the_image():
    head = FactorizedHead(HeadSettings(1, 2, 2, 1, "relu", "float32"))
    outputs = tf.random.stateless_normal((2, 3, 4, 2), seed=(0, 0))
    for x in (tf.zeros((2, 3, 4, 1)), tf.ones((2, 3, 4, 1))):
        np.testing.assert_array_equal(head(outputs, x), outputs)
    assert head.weights == []
    assert not head.is_sequential


def test_a_sample_and_its_mean_are_those_of_the_distribution():
    head = FactorizedHead(HeadSettings(1, 1, 1, 1, "relu", "float32"))
    outputs = tf.random.stateless_normal((2, 3, 4, 1), seed=(0, 0))
    uniforms = tf.random.stateless_uniform((2, 3, 4, 1), seed=(0, 1))
    sample, mean = head.sample(outputs, uniforms, BINARIZED)
    distribution = BINARIZED.distribution(outputs)
    np.testing.assert_array_equal(sample, distribution.sample(uniforms))
    np.testing.assert_array_equal(mean, distribution.mean())
