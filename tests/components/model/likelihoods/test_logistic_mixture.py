import numpy as np
import pytest
import tensorflow as tf

from components.model.likelihoods.logistic_mixture import (
    LOGISTIC_MIXTURE,
    LogisticMixtureFamily,
)
from components.model.noise import uniform

RNG = np.random.default_rng(0)
LEVELS = np.arange(256, dtype=np.float32)[:, np.newaxis, np.newaxis, np.newaxis] / 255


def random_outputs(channels: int, family=LOGISTIC_MIXTURE, batch: int = 1) -> np.ndarray:
    """Outputs of single pixels, [batch, 1, 1, outputs]."""
    return RNG.normal(size=(batch, 1, 1, family.num_outputs(channels))).astype(np.float32)


def means_of(channels: int, family=LOGISTIC_MIXTURE) -> slice:
    """The places of the means among the outputs; those of the log-scales follow."""
    first = family.components + 1
    return slice(first, first + channels * family.components)


def log_sigmoid(a: np.ndarray) -> np.ndarray:
    return -np.logaddexp(0, -a)


def oracle(outputs: np.ndarray, levels: np.ndarray, components: int = 5) -> np.ndarray:
    """log P of pixels [batch, channels] from the definition, in float64, shape [batch]."""
    outputs = outputs.astype(np.float64).reshape(len(outputs), -1)
    channels = levels.shape[1]
    logits, rest = outputs[:, : components + 1], outputs[:, components + 1 :]
    blocks = rest.reshape(len(outputs), -1, components)
    means = blocks[:, :channels] + (np.arange(components) + 0.5) / components
    raw = blocks[:, channels : 2 * channels]
    limit = np.where(raw > 0, 2.5, 5.5)
    scales = np.exp(-2.5 + limit * np.tanh(raw / limit))
    coefficients = np.tanh(blocks[:, 2 * channels :])
    log_masses = np.zeros((len(outputs), components))
    pair = 0
    for channel in range(channels):
        location = means[:, channel].copy()
        for earlier in range(channel):
            location += coefficients[:, pair] * (levels[:, earlier, np.newaxis] / 255 - 0.5)
            pair += 1
        level = levels[:, channel, np.newaxis].astype(np.float64)
        upper = ((level + 0.5) / 255 - location) / scales[:, channel]
        lower = ((level - 0.5) / 255 - location) / scales[:, channel]
        # log(σ(b) - σ(a)) = log σ(b) + log σ(-a) + log(1 - e^(a - b))
        between = log_sigmoid(upper) + log_sigmoid(-lower) + np.log(-np.expm1(lower - upper))
        log_masses += np.where(
            level == 0,
            log_sigmoid(upper),
            np.where(level == 255, log_sigmoid(-lower), between),
        )
    black = np.where((levels == 0).all(axis=1), 0, -np.inf)
    terms = logits + np.concatenate([log_masses, black[:, np.newaxis]], axis=1)
    return np.logaddexp.reduce(terms, axis=1) - np.logaddexp.reduce(logits, axis=1)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_the_log_probability_is_that_of_the_definition(channels):
    outputs = 2 * random_outputs(channels, batch=2000)
    levels = RNG.integers(0, 256, (2000, channels))
    # Many pixels at the edges, and some black ones.
    levels[:600] = RNG.choice([0, 255], (600, channels))
    x = (levels[:, np.newaxis, np.newaxis] / 255).astype(np.float32)
    log_prob = LOGISTIC_MIXTURE.distribution(outputs).log_prob(x)
    np.testing.assert_allclose(log_prob, oracle(outputs, levels), rtol=1e-5, atol=2e-4)


@pytest.mark.parametrize("raw_log_scale", [-60.0, -8.0, 0.0, 2.0, 60.0])
@pytest.mark.parametrize("shift", [-3.0, 0.0, 3.0])
def test_the_probabilities_of_all_levels_sum_to_one(raw_log_scale, shift):
    outputs = random_outputs(1)
    outputs[..., means_of(1)] += shift
    outputs[..., means_of(1).stop :] = raw_log_scale
    repeated = np.repeat(outputs, 256, axis=0)
    log_prob = LOGISTIC_MIXTURE.distribution(repeated).log_prob(LEVELS).numpy()
    assert abs(np.exp(log_prob.astype(np.float64)).sum() - 1) < 2e-4


def test_the_probabilities_of_all_pairs_of_levels_sum_to_one():
    outputs = np.repeat(random_outputs(2), 256 * 256, axis=0)
    first, second = np.meshgrid(LEVELS.ravel(), LEVELS.ravel())
    x = np.stack([first, second], axis=-1).reshape(-1, 1, 1, 2)
    log_prob = LOGISTIC_MIXTURE.distribution(outputs).log_prob(x).numpy()
    assert abs(np.exp(log_prob.astype(np.float64)).sum() - 1) < 1e-4


@pytest.mark.parametrize("color", [(0, 0), (10, 200), (255, 0), (0, 130)])
def test_the_probabilities_of_the_last_channel_sum_to_those_of_the_first_two(color):
    outputs = random_outputs(3)
    first_two = np.float32(color)[np.newaxis, np.newaxis, np.newaxis] / 255
    x = np.concatenate([np.repeat(first_two, 256, axis=0), LEVELS], axis=-1)
    joint = LOGISTIC_MIXTURE.distribution(np.repeat(outputs, 256, axis=0)).log_prob(x).numpy()
    # Without the mean, log-scale and coefficients of the third channel.
    of_two = np.concatenate([outputs[..., :16], outputs[..., 21:31], outputs[..., 36:41]], axis=-1)
    expected = LOGISTIC_MIXTURE.distribution(of_two).log_prob(first_two).numpy()[0]
    np.testing.assert_allclose(np.logaddexp.reduce(joint.astype(np.float64)), expected, atol=1e-4)


def test_only_a_pixel_that_is_0_in_all_channels_is_black():
    outputs = np.zeros((2, 1, 1, LOGISTIC_MIXTURE.num_outputs(3)), np.float32)
    outputs[..., 5] = 100
    x = np.float32([[0, 0, 0], [0, 0, 1]])[:, np.newaxis, np.newaxis] / 255
    black, other = LOGISTIC_MIXTURE.distribution(outputs).log_prob(x).numpy()
    assert black == 0
    assert other < -90


def log_prob_and_gradient(
    outputs: np.ndarray, levels: list[int], channels: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Of one pixel for each level, with the level in all channels: [levels], [levels, outputs]."""
    x = np.broadcast_to(
        np.float32(levels).reshape(-1, 1, 1, 1) / 255, (len(levels), 1, 1, channels)
    )
    variable = tf.repeat(outputs, len(levels), axis=0)
    with tf.GradientTape() as tape:
        tape.watch(variable)
        log_prob = LOGISTIC_MIXTURE.distribution(variable).log_prob(x)
    gradient = tape.gradient(log_prob, variable).numpy()
    return log_prob.numpy(), gradient.reshape(len(levels), -1)


@pytest.mark.parametrize("extreme", [-60.0, 0.0, 60.0])
@pytest.mark.parametrize(
    "place",
    [slice(0, 6), slice(6, 21), slice(21, 36), slice(36, 51)],
    ids=["logits", "means", "log_scales", "coefficients"],
)
def test_the_gradients_are_finite_at_extremes(place, extreme):
    outputs = random_outputs(3)
    outputs[..., place] = extreme
    log_prob, gradient = log_prob_and_gradient(outputs, [0, 1, 128, 254, 255], channels=3)
    assert np.isfinite(log_prob).all()
    assert np.isfinite(gradient).all()


def test_the_gradients_are_the_differences_of_the_definition():
    outputs = random_outputs(1)
    levels = [0, 1, 77, 254, 255]
    _, gradients = log_prob_and_gradient(outputs, levels)
    steps = 1e-5 * np.eye(outputs.size)
    for level, gradient in zip(levels, gradients, strict=True):
        column = np.full((outputs.size, 1), level)
        higher, lower = (oracle(outputs.ravel() + sign * steps, column) for sign in (1, -1))
        np.testing.assert_allclose(gradient, (higher - lower) / 2e-5, rtol=1e-3, atol=1e-3)


def test_a_number_added_to_the_means_shifts_them_by_it():
    outputs = random_outputs(1)
    shifted = outputs.copy()
    shifted[..., means_of(1)] += 20 / 255
    x = tf.fill((1, 1, 1, 1), 100 / 255)
    np.testing.assert_allclose(
        LOGISTIC_MIXTURE.distribution(shifted).log_prob(x + 20 / 255),
        LOGISTIC_MIXTURE.distribution(outputs).log_prob(x),
        rtol=1e-5,
    )


def test_the_mean_of_gray_pixels_is_the_expected_intensity():
    outputs = 2 * random_outputs(1, batch=40)
    repeated = np.repeat(outputs, 256, axis=0)
    log_prob = oracle(repeated, np.tile(np.arange(256)[:, np.newaxis], (40, 1)))
    expected = np.exp(log_prob).reshape(40, 256) @ np.arange(256) / 255
    mean = LOGISTIC_MIXTURE.distribution(outputs).mean().numpy().ravel()
    np.testing.assert_allclose(mean, expected, atol=1e-5)


def draws(outputs: np.ndarray, channels: int, number: int, family=LOGISTIC_MIXTURE) -> np.ndarray:
    """Levels of as many samples of one pixel, [number, channels]."""
    shape = (number, 1, 1, family.num_uniforms(channels))
    repeated = tf.repeat(outputs, number, axis=0)
    uniforms = uniform(shape, seed=0, step=tf.constant(0, tf.int64))
    x = family.distribution(repeated).sample(uniforms).numpy()
    np.testing.assert_array_equal(x, (np.rint(x * 255) / 255).astype(np.float32))
    return np.rint(x * 255).astype(int).reshape(number, channels)


def test_the_frequencies_of_samples_are_the_probabilities():
    outputs = random_outputs(1)
    number = 400_000
    frequencies = np.bincount(draws(outputs, 1, number).ravel(), minlength=256) / number
    probabilities = np.exp(oracle(np.repeat(outputs, 256, axis=0), np.arange(256)[:, np.newaxis]))
    deviations = np.sqrt(probabilities * (1 - probabilities) / number)
    assert (np.abs(frequencies - probabilities) < 5 * deviations + 1e-6).all()
    assert probabilities[[0, 255]].min() > 0.01


def test_the_differences_of_two_channels_of_samples_have_their_probabilities():
    outputs = random_outputs(2)
    number = 400_000
    levels = draws(outputs, 2, number)
    frequencies = np.bincount(levels[:, 1] - levels[:, 0] + 255, minlength=511) / number
    pairs = np.stack(np.meshgrid(np.arange(256), np.arange(256)), axis=-1).reshape(-1, 2)
    joint = np.exp(oracle(np.repeat(outputs, len(pairs), axis=0), pairs))
    probabilities = np.bincount(pairs[:, 1] - pairs[:, 0] + 255, weights=joint)
    deviations = np.sqrt(probabilities * (1 - probabilities) / number)
    assert (np.abs(frequencies - probabilities) < 5 * deviations + 1e-6).all()


def test_the_mean_of_colors_inside_the_edges_is_that_of_samples():
    family = LogisticMixtureFamily(components=2)
    outputs = 0.05 * random_outputs(3, family)
    outputs[..., means_of(3, family).stop :][..., :6] -= 1.5
    outputs[..., -6:] = [0.5, -0.5, 0.2, 0.3, -0.2, -0.4]
    number = 200_000
    levels = draws(outputs, 3, number, family)
    errors = levels.std(axis=0) / np.sqrt(number)
    mean = family.distribution(outputs).mean().numpy().ravel() * 255
    assert (np.abs(levels.mean(axis=0) - mean) < 5 * errors).all()


def test_a_number_of_outputs_that_no_pixel_has_is_rejected():
    with pytest.raises(ValueError, match=r"16 outputs for one channel, 51 for three.*17 outputs"):
        LOGISTIC_MIXTURE.distribution(tf.zeros((1, 1, 1, 17)))
