import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.optimization.muon import Muon, orthogonalize
from trainer.optimization.optimizer import Adam, Lion, WeightDecay

RNG = np.random.default_rng(0)
SHAPES = {
    "dense": (12, 7),
    "wide": (5, 40),
    "both_sides_too_large": (201, 202),
    "smaller_side_just_fits": (200, 300),
    "convolution": (3, 3, 4, 8),
    "transposed": (4, 4, 8, 4),
    "pointwise": (1, 1, 6, 9),
    "one_channel": (3, 3, 4, 1),
    "one_column": (7, 1),
    "one_row": (1, 7),
    "bias": (6,),
    "scale": (),
}
BY_ADAM = ["both_sides_too_large", "one_channel", "one_column", "one_row", "bias", "scale"]
ORTHOGONALIZED = [name for name in SHAPES if name not in BY_ADAM]


def random(*shape: int) -> tf.Tensor:
    return tf.constant(RNG.normal(size=shape), tf.float32)


def steps(rule, parameter: tf.Tensor, gradients: list[tf.Tensor], *, compiled: bool = False):
    """The parameter after steps with these gradients and a learning rate of 0.01."""
    update = tf.function(rule.update, jit_compile=True) if compiled else rule.update
    slots = [tf.zeros_like(parameter)] * rule.num_slots(parameter.shape)
    for step, gradient in enumerate(gradients):
        parameter, slots = update(
            parameter, gradient, slots, tf.constant(0.01), tf.constant(step, tf.int64)
        )
    return parameter


def newton_schulz(values: np.ndarray) -> np.ndarray:
    """The singular values of an orthogonalized matrix, by those of the matrix."""
    values = values / np.linalg.norm(values)
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return values


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.parametrize("name", ORTHOGONALIZED)
def test_matrices_agree_with_keras(name, weight_decay, compiled):
    shape = SHAPES[name]
    start, gradients = random(*shape), [random(*shape) for _ in range(5)]
    # Keras leaves parameters of higher rank to Adam, so it gets a convolution's kernel as a matrix.
    theirs = tf.Variable(tf.reshape(start, [-1, shape[-1]]))
    oracle = keras.optimizers.Muon(0.01, weight_decay=weight_decay, exclude_embeddings=False)
    for gradient in gradients:
        oracle.apply([tf.reshape(gradient, theirs.shape)], [theirs])
    ours = steps(WeightDecay(Muon(), weight_decay), start, gradients, compiled=compiled)
    np.testing.assert_allclose(ours, tf.reshape(theirs, shape), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", BY_ADAM)
def test_all_other_parameters_follow_adam_exactly(name):
    shape = SHAPES[name]
    start, gradients = random(*shape), [random(*shape) for _ in range(3)]
    ours, expected = (steps(rule, start, gradients) for rule in (Muon(), Adam()))
    np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("name", SHAPES)
def test_a_matrix_has_one_slot_and_other_parameters_have_those_of_their_rule(name):
    shape = SHAPES[name]
    assert Muon().num_slots(shape) == (2 if name in BY_ADAM else 1)
    assert Muon(rest=Lion()).num_slots(shape) == 1
    assert WeightDecay(Muon(), 0.1).num_slots(tf.TensorShape(shape)) == Muon().num_slots(shape)


def test_the_largest_side_bounds_the_smaller_side():
    assert Muon(largest_side=6).num_slots((7, 50)) == 2
    assert Muon(largest_side=7).num_slots((7, 50)) == Muon(largest_side=7).num_slots((50, 7)) == 1


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("shape", [(12, 12), (40, 9), (9, 40), (200, 300)])
def test_singular_values_follow_the_polynomial_and_singular_vectors_remain(shape, compiled):
    matrix = RNG.normal(size=shape)
    u, values, v = np.linalg.svd(matrix, full_matrices=False)
    result = tf.function(orthogonalize, jit_compile=compiled)(
        tf.constant(matrix, tf.float32), iterations=5
    ).numpy()
    diagonal = u.T @ result @ v.T
    np.testing.assert_allclose(diagonal, np.diag(newton_schulz(values)), atol=1e-4)
    assert values[-1] > 0.002 * np.linalg.norm(values)
    assert 0.68 < diagonal.diagonal().min() < diagonal.diagonal().max() < 1.21
    # The rest of the result, outside the singular vectors' span, is zero.
    np.testing.assert_allclose(u @ diagonal @ v, result, atol=1e-5)


def test_a_matrix_of_low_rank_keeps_its_rank():
    matrix = random(30, 3) @ random(3, 20)
    values = np.linalg.svd(orthogonalize(matrix, iterations=5), compute_uv=False)
    assert values[2] > 0.68
    np.testing.assert_allclose(values[3:], 0, atol=1e-3)


def test_the_gradients_scale_does_not_matter():
    matrix = random(8, 5)
    for scale in (1e-3, 1e6):
        np.testing.assert_allclose(
            orthogonalize(scale * matrix, iterations=5),
            orthogonalize(matrix, iterations=5),
            atol=1e-3,
        )


def test_without_gradients_a_matrix_stays():
    start = random(4, 3)
    np.testing.assert_array_equal(steps(Muon(), start, [tf.zeros((4, 3))] * 2), start)


@pytest.mark.parametrize("shape", [(9, 4, 8), (9, 4, 100)])
def test_masked_rows_of_a_kernel_stay(shape):
    """The gradient of a masked kernel is 0 where the mask is."""
    mask = np.arange(9)[:, np.newaxis, np.newaxis] < 4
    start = random(*shape)
    moved = steps(Muon(), start, [tf.where(mask, random(*shape), 0.0) for _ in range(3)])
    np.testing.assert_array_equal(moved == start, np.broadcast_to(~mask, shape))


@pytest.mark.parametrize("shape", [(30, 20), (3, 3, 16, 32), (20, 150)])
def test_the_elements_of_a_step_have_the_size_of_adams(shape):
    start = tf.zeros(shape)
    step = steps(Muon(), start, [random(*shape)])
    root_mean_square = np.sqrt(np.mean(np.square(step)))
    assert 0.7 < root_mean_square / (0.01 * 0.2) < 1.2
