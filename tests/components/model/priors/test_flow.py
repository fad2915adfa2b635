import keras
import numpy as np
import pytest
import tensorflow as tf

from components.model.priors.flow import RealNVP

RNG = np.random.default_rng(0)


def make(latents: int, **arguments) -> RealNVP:
    """A flow with random weights, which is far from the identity."""
    keras.utils.set_random_seed(0)
    flow = RealNVP(latents, **arguments)
    for weight in flow.weights:
        weight.assign(weight + RNG.normal(size=weight.shape, scale=0.05))
    return flow


def normal(*shape: int) -> tf.Tensor:
    return tf.constant(RNG.normal(size=shape), tf.float32)


@pytest.mark.parametrize("latents", [1, 2, 3, 7, 40])
@pytest.mark.parametrize("couplings", [1, 3, 4])
def test_the_log_determinant_is_that_of_the_jacobian(latents, couplings):
    flow = make(latents, couplings=couplings)
    z = normal(6, latents)
    with tf.GradientTape() as tape:
        tape.watch(z)
        u, log_determinant = flow.forward(z)
    jacobian = tape.batch_jacobian(u, z).numpy().astype(np.float64)
    sign, expected = np.linalg.slogdet(jacobian)
    assert (sign == 1).all()
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(log_determinant, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("latents", [1, 2, 3, 40])
def test_sampling_inverts_the_flow(latents):
    flow = make(latents)
    z = normal(50, latents)
    u, _ = flow.forward(z)
    assert np.abs(u - z).max() > 0.1
    np.testing.assert_allclose(flow.sample(u), z, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("latents", [1, 2, 5])
def test_the_flow_begins_as_the_identity(latents):
    flow = RealNVP(latents)
    z = normal(50, latents)
    u, log_determinant = flow.forward(z)
    np.testing.assert_array_equal(u, z)
    np.testing.assert_array_equal(log_determinant, np.zeros(50))
    np.testing.assert_array_equal(flow.sample(z), z)


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_coupling_scales_a_latent_by_at_most_e_squared(sign):
    flow = make(4, couplings=1)
    flow.conditioners[0].layers[-1].bias.assign(np.full(4, sign * 1e6))
    _, log_determinant = flow.forward(normal(50, 4))
    np.testing.assert_allclose(log_determinant, np.full(50, sign * 2 * 2.0))


def test_a_coupling_keeps_one_half():
    u, _ = make(5, couplings=1).forward(z := normal(50, 5))
    np.testing.assert_array_equal(u[:, :2], z[:, :2])
    assert (np.abs(u[:, 2:] - z[:, 2:]).max(axis=0) > 0.01).all()


def test_two_couplings_change_every_latent():
    u, _ = make(5, couplings=2).forward(z := normal(50, 5))
    assert (np.abs(u - z).max(axis=0) > 0.01).all()


def test_the_flow_of_one_latent_is_affine():
    flow = make(1)
    u, log_determinant = flow.forward(tf.constant([[-1.0], [0.0], [1.0], [5.0]]))
    intercept, slope = u[1, 0], u[2, 0] - u[1, 0]
    np.testing.assert_allclose(u[:, 0], intercept + slope * [-1.0, 0, 1, 5], rtol=1e-5)
    np.testing.assert_allclose(log_determinant, np.full(4, np.log(slope)), rtol=1e-4)
    assert len(flow.conditioners) == 1


@pytest.mark.parametrize("latents", [1, 2, 5])
def test_a_condition_changes_the_shape_of_the_density(latents):
    flow = make(latents, conditions=3)
    z = normal(50, latents)
    first, second = (tf.one_hot(tf.fill([50], label), 3) for label in (0, 1))
    (u, log_determinant), (other, other_log_determinant) = (
        flow.forward(z, condition) for condition in (first, second)
    )
    assert np.abs(u - other).max() > 0.1
    assert np.abs(log_determinant - other_log_determinant).max() > 0.05
    np.testing.assert_allclose(flow.sample(u, first), z, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(flow.sample(other, second), z, rtol=1e-4, atol=1e-4)


def test_a_conditional_density_of_one_latent_integrates_to_one():
    flow = make(1, conditions=2)
    z = np.linspace(-30, 30, 60_001, dtype=np.float32)[:, np.newaxis]
    for label in range(2):
        condition = tf.one_hot(tf.fill([len(z)], label), 2)
        density = np.exp(flow.log_prob(tf.constant(z), condition).numpy().astype(np.float64))
        assert density.sum() * 1e-3 == pytest.approx(1, abs=1e-3)


def test_every_weight_gets_a_gradient_after_the_first_update():
    flow = make(5)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(flow.log_prob(normal(50, 5)))
    for gradient in tape.gradient(total, [weight.value for weight in flow.trainable_weights]):
        assert np.abs(gradient).max() > 0


def test_training_fits_a_density_that_is_not_normal():
    # z2 given z1 has the mean z1² - 1: the correlation is zero, so no affine map gains anything.
    keras.utils.set_random_seed(0)
    flow = RealNVP(2, widths=(32,))
    noise = RNG.normal(size=(2000, 2))
    first, second = noise[:, 0], noise[:, 0] ** 2 - 1 + 0.2 * noise[:, 1]
    z = tf.constant(np.stack([first, second], axis=-1), tf.float32)
    optimizer = keras.optimizers.Adam(0.01)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(flow.log_prob(z))
        variables = flow.trainable_variables
        optimizer.apply(tape.gradient(loss, [v.value for v in variables]), variables)
        return loss

    optimizer.build(flow.trainable_variables)
    losses = [float(step()) for _ in range(300)]
    entropy = np.log(2 * np.pi * np.e) + np.log(0.2)
    assert losses[0] > entropy + 1
    assert entropy - 0.1 < losses[-1] < entropy + 0.2
