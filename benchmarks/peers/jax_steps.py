"""JAX: compiled steps, images on the device, a hand-written optimizer."""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from benchmarks.peers.common import LATENTS, LEARNING_RATE, SETTINGS, load_images
from benchmarks.tasks.reports import Report, laps


def jax_steps(examples: str, model: str, seconds: float, scanned: bool = True) -> Report:
    """Trains with compiled steps.

    Args:
      examples: the prepared directory.
      model: a key of `SETTINGS`.
      seconds: the shortest time to measure.
      scanned: whether an epoch is one `scan`; otherwise each step is one call. Within a loop, XLA's
        convolutions use one core of the CPU and are ten times slower
        (github.com/jax-ml/jax/issues/12868).
    """
    setting = SETTINGS[model]
    images = jnp.asarray(load_images(examples))
    num_steps = len(images) // setting.batch_size
    weights, encode, decode = _networks(model)
    update, num_slots = _OPTIMIZERS[setting.optimizer]

    def loss_of(weights, batch, key):
        mean, log_variance = jnp.split(encode(weights[0], batch), 2, axis=-1)
        z = mean + jnp.exp(0.5 * log_variance) * jax.random.normal(key, mean.shape)
        logits = decode(weights[1], z).reshape(batch.shape)
        distortion = jnp.sum(jnp.logaddexp(0.0, logits) - batch * logits)
        rate = 0.5 * jnp.sum(jnp.exp(log_variance) + mean**2 - 1 - log_variance)
        return (distortion + rate) / len(batch)

    def step(state, images, rows, key):
        weights, slots, count = state
        loss, gradients = jax.value_and_grad(loss_of)(weights, images[rows], key)
        weights, slots = update(weights, gradients, slots, count + 1)
        return (weights, slots, count + 1), loss

    def inputs(key):
        order_key, noise_key = jax.random.split(key)
        order = jax.random.permutation(order_key, len(images))
        rows = order[: num_steps * setting.batch_size].reshape(num_steps, setting.batch_size)
        return rows, jax.random.split(noise_key, num_steps)

    @functools.partial(jax.jit, donate_argnums=0)
    def scanned_epoch(state, images, key):
        state, losses = lax.scan(
            lambda state, step_inputs: step(state, images, *step_inputs), state, inputs(key)
        )
        return state, losses.mean()

    compiled_step = jax.jit(step, donate_argnums=0)

    def epoch_of_calls(state, images, key):
        losses = []
        for rows, noise_key in zip(*inputs(key), strict=True):
            state, loss = compiled_step(state, images, rows, noise_key)
            losses.append(loss)
        return state, jnp.stack(losses).mean()

    slots = [jax.tree.map(jnp.zeros_like, weights) for _ in range(num_slots)]
    state = (weights, slots, jnp.int32(0))
    epoch = scanned_epoch if scanned else epoch_of_calls
    epochs = itertools.count()

    def lap() -> float:
        nonlocal state
        state, loss = epoch(state, images, jax.random.key(next(epochs)))
        return float(loss)

    return laps(lap, images=num_steps * setting.batch_size, seconds=seconds)


def _networks(model: str):
    """The initial weights of both networks, and the functions that apply them.

    Returns:
      weights: for the encoder and the decoder, a (kernel, bias) pair per layer.
      encode: (layers, images) to mean and log-variance, joined.
      decode: (layers, latents) to logits.
    """
    relu, nhwc = jax.nn.relu, ("NHWC", "HWIO", "NHWC")

    def dense(layer, x):
        return x @ layer[0] + layer[1]

    def conv(layer, x):
        kernel, bias = layer
        x = lax.conv_general_dilated(x, kernel, (2, 2), "SAME", dimension_numbers=nhwc)
        return x + bias

    def transposed(layer, x, stride=2):
        kernel, bias = layer
        x = lax.conv_transpose(x, kernel, (stride, stride), "SAME", dimension_numbers=nhwc)
        return x + bias

    def mlp_encode(layers, x):
        return dense(layers[1], relu(dense(layers[0], x.reshape(len(x), -1))))

    def mlp_decode(layers, z):
        return dense(layers[1], relu(dense(layers[0], z)))

    def conv_encode(layers, x):
        x = relu(conv(layers[1], relu(conv(layers[0], x))))
        return mlp_encode(layers[2:], x)

    def conv_decode(layers, z):
        x = relu(dense(layers[0], z)).reshape(-1, 7, 7, 64)
        x = relu(transposed(layers[2], relu(transposed(layers[1], x))))
        return transposed(layers[3], x, stride=1)

    if model == "mlp":
        shapes: Any = [[(784, 256), (256, 2 * LATENTS)], [(LATENTS, 256), (256, 784)]]
        encode, decode = mlp_encode, mlp_decode
    else:
        shapes = [
            [(3, 3, 1, 32), (3, 3, 32, 64), (3136, 16), (16, 2 * LATENTS)],
            [(LATENTS, 3136), (3, 3, 64, 64), (3, 3, 64, 32), (3, 3, 32, 1)],
        ]
        encode, decode = conv_encode, conv_decode
    keys = iter(jax.random.split(jax.random.key(0), 8))
    glorot = jax.nn.initializers.glorot_uniform()
    weights = [
        [(glorot(next(keys), shape), jnp.zeros(shape[-1])) for shape in network]
        for network in shapes
    ]
    return weights, encode, decode


def _rmsprop(weights, gradients, slots, count):
    del count
    squares = jax.tree.map(lambda s, g: 0.9 * s + 0.1 * g * g, slots[0], gradients)
    weights = jax.tree.map(
        lambda w, g, s: w - LEARNING_RATE * g * lax.rsqrt(s + 1e-7), weights, gradients, squares
    )
    return weights, [squares]


def _adam(weights, gradients, slots, count):
    means = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, slots[0], gradients)
    squares = jax.tree.map(lambda s, g: 0.999 * s + 0.001 * g * g, slots[1], gradients)
    rate = LEARNING_RATE * jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
    weights = jax.tree.map(
        lambda w, m, s: w - rate * m / (jnp.sqrt(s) + 1e-7), weights, means, squares
    )
    return weights, [means, squares]


_OPTIMIZERS = {"rmsprop": (_rmsprop, 1), "adam": (_adam, 2)}  # (update, number of slots)
