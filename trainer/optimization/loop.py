"""The training loop: many steps per call, under a distribution strategy.

A step is a pure function of tensors, (state, batch) -> (state, sums). With one replica the whole
call, all its steps, is one function of tensors, so that XLA can compile it as one program; the
variables are read at its start and assigned at its end. With several, each step's gradients are
summed over the replicas, which may not happen inside a compiled loop: there the loop stands outside
and only the gradients and the update are compiled.

Examples and noise depend on (seed, step) alone and losses are divided by the global count, so the
number of replicas, of hosts and of parts that a batch is computed in changes nothing but the order
of summation.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from components.data.batches import Batches
from components.model import objective
from components.model.noise import standard_normal
from components.model.vae import VAE, to_unit
from trainer.devices.hosts import Host
from trainer.optimization.schedules import Schedule
from trainer.optimization.update import State, Update

# There is no control flow in Python to convert, and to look for it takes seconds.
_function = functools.partial(tf.function, autograph=False)


@dataclasses.dataclass(frozen=True)
class StepConfig:
    """What the steps of a run are.

    Attributes:
      update: how a step changes the weights.
      beta: weight of the rate in the loss, by step.
      free_bits: nats of each latent dimension's rate that cost nothing.
      seed: of the noise.
      accumulate: parts that a replica computes its share of a batch in, one after the other.
      per_call: the most steps between returns to Python.
      compiled: whether XLA compiles them.
    """

    update: Update
    beta: Schedule
    free_bits: float = 0.0
    seed: int = 0
    accumulate: int = 1
    per_call: int = 100
    compiled: bool = True


class Loop:
    """Fits a VAE.

    Args:
      strategy: over which replicas; the model was made in its scope.
      model: the VAE.
      batches: the training examples.
      steps: what a step is.
      host: which of the strategy's hosts this is.
    """

    def __init__(
        self,
        *,
        strategy: tf.distribute.Strategy,
        model: VAE,
        batches: Batches,
        steps: StepConfig,
        host: Host = Host(),  # noqa: B008 - frozen
    ):
        self._strategy = strategy
        self._model = model
        self._batches = batches
        self.steps = steps
        replicas = strategy.num_replicas_in_sync
        self._part_batch = -(-batches.batch_size // (replicas * steps.accumulate))
        self._replica_batch = self._part_batch * steps.accumulate
        self._padded_batch = self._replica_batch * replicas
        # This host's replicas stand side by side, and so do their examples in the batch.
        width = self._replica_batch * (replicas // host.count)
        self._columns = slice(host.index * width, (host.index + 1) * width)
        with strategy.scope():
            weights = [weight.value for weight in model.trainable_variables]
            self.state = steps.update.initial_state(weights)
        self._call = self._build()

    def run(self, num_steps: int) -> np.ndarray:
        """Trains for `num_steps` steps, at most `Steps.per_call`.

        Returns:
          float32 [num_steps, 2]: the rate and the distortion of each step's batch, in nats, summed
          over its examples.
        """
        chunk = self._batches.chunk(
            int(self.state.step.numpy()),
            num_steps,
            pad_to=(self.steps.per_call, self._padded_batch),
            columns=self._columns,
        )
        devices = self._strategy.extended.worker_devices

        def part(context: tf.distribute.experimental.ValueContext) -> tf.Tensor:
            local = context.replica_id_in_sync_group % len(devices)
            start = local * self._replica_batch
            with tf.device(devices[local]):
                return tf.constant(chunk.images[:, start : start + self._replica_batch])

        images = self._strategy.experimental_distribute_values_from_function(part)
        counts = tf.constant(chunk.counts)
        return self._call(images, counts, tf.constant(num_steps)).numpy()[:num_steps]

    def state_arrays(self) -> dict[str, np.ndarray]:
        """The training state's values, for a checkpoint."""
        return {name: variable.numpy() for name, variable in self.state.named().items()}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Takes up a state that `state_arrays` gave."""
        for name, variable in self.state.named().items():
            variable.assign(arrays[name])

    def _build(self) -> Callable[..., tf.Tensor]:
        def compile_(function: Callable[..., Any]) -> Callable[..., Any]:
            return _function(function, jit_compile=True) if self.steps.compiled else function

        if self._strategy.num_replicas_in_sync == 1:
            return self._build_single(compile_)
        return self._build_replicated(compile_)

    def _build_single(self, compile_: Callable) -> Callable[..., tf.Tensor]:
        def steps(state: State, images: tf.Tensor, counts: tf.Tensor, num_steps: tf.Tensor):
            def body(index, state, sums):
                gradients, step_sums = self._gradients(state, images[index], counts[index], 0)
                state = self.steps.update(state, gradients)
                return index + 1, state, sums.write(index, step_sums)

            sums = tf.TensorArray(tf.float32, self.steps.per_call, element_shape=[2])
            _, state, sums = tf.while_loop(
                lambda index, *_: index < num_steps, body, (0, state, sums), parallel_iterations=1
            )
            return state, sums.stack()

        steps = compile_(steps)

        def replica_call(images, counts, num_steps):
            state, sums = steps(self.state.read(), images, counts, num_steps)
            self._assign(state)
            return sums

        @_function
        def call(images, counts, num_steps):
            return self._strategy.run(replica_call, args=(images, counts, num_steps))

        return call

    def _build_replicated(self, compile_: Callable) -> Callable[..., tf.Tensor]:
        gradients_of = compile_(self._gradients)
        update = compile_(self.steps.update)

        def replica_step(images, counts, index):
            context = tf.distribute.get_replica_context()
            replica = context.replica_id_in_sync_group
            state = self.state.read()
            gradients, sums = gradients_of(state, images[index], counts[index], replica)
            # Every replica divided by the global count, so the sum is the global mean.
            gradients, sums = context.all_reduce("SUM", [gradients, sums])
            self._assign(update(state, gradients))
            return sums

        @_function
        def call(images, counts, num_steps):
            def body(index, all_sums):
                sums = self._strategy.run(replica_step, args=(images, counts, index))
                first = self._strategy.experimental_local_results(sums)[0]
                return index + 1, all_sums.write(index, first)

            all_sums = tf.TensorArray(tf.float32, self.steps.per_call, element_shape=[2])
            _, all_sums = tf.while_loop(
                lambda index, _: index < num_steps, body, (0, all_sums), parallel_iterations=1
            )
            return all_sums.stack()

        return call

    def _gradients(
        self, state: State, pixels: tf.Tensor, count: tf.Tensor, replica: int | tf.Tensor
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        """This replica's part of the (scaled) loss's gradients, and its sums [rate, distortion].

        Args:
          state: tensors.
          pixels: uint8, the replica's share of the batch.
          count: how many examples the whole batch has; what lies behind them is padding.
          replica: which one this is.
        """
        first = replica * self._replica_batch
        noise = self._noise(state.step)[first : first + self._replica_batch]
        is_example = first + tf.range(self._replica_batch) < count
        if self.steps.accumulate == 1:
            return self._part_gradients(state, (pixels, noise, is_example), count)
        # Stacked, since XLA takes slices of a constant size alone.
        shape = [self.steps.accumulate, self._part_batch]
        parts = [tf.reshape(each, shape + each.shape[1:]) for each in (pixels, noise, is_example)]

        def body(index, gradients, sums):
            more, more_sums = self._part_gradients(state, [each[index] for each in parts], count)
            return (
                index + 1,
                [a + b for a, b in zip(gradients, more, strict=True)],
                sums + more_sums,
            )

        start = (0, [tf.zeros_like(weight) for weight in state.weights], tf.zeros([2]))
        _, gradients, sums = tf.while_loop(
            lambda index, *_: index < self.steps.accumulate, body, start, parallel_iterations=1
        )
        return gradients, sums

    def _part_gradients(
        self, state: State, parts: Sequence[tf.Tensor], count: tf.Tensor
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        """As `_gradients`, for examples that are computed together.

        Args:
          parts: their pixels, their noise, and whether they are examples rather than padding.
        """
        pixels, noise, is_example = parts
        pixels = tf.ensure_shape(pixels, [self._part_batch, *self._model.image_shape])
        noise = tf.ensure_shape(noise, [self._part_batch, self._model.latents])
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(state.weights)
            variables = self._model.trainable_variables
            with keras.StatelessScope(list(zip(variables, state.weights, strict=True))):
                rates, distortion = self._model.rates_and_distortion(to_unit(pixels), noise)
            beta, free_bits = self.steps.beta(state.step), self.steps.free_bits
            losses = objective.loss(rates, distortion, beta=beta, free_bits=free_bits)
            # Padding is masked out of sums and gradients alike.
            loss = tf.reduce_sum(tf.where(is_example, losses, 0.0)) / tf.cast(count, tf.float32)
            scaled_loss = loss * state.loss_scale
        sums = [
            tf.reduce_sum(tf.where(is_example, part, 0.0))
            for part in (tf.reduce_sum(rates, axis=-1), distortion)
        ]
        return tape.gradient(scaled_loss, state.weights), tf.stack(sums)

    def _noise(self, step: tf.Tensor) -> tf.Tensor:
        """The whole global batch's noise, padded as its examples are: [padded batch, latents]."""
        batch_size = self._batches.batch_size
        noise = standard_normal((batch_size, self._model.latents), seed=self.steps.seed, step=step)
        return tf.pad(noise, [[0, self._padded_batch - batch_size], [0, 0]])

    def _assign(self, state: State) -> None:
        """Assigns every variable on every replica; in the replica context, all in one merge."""

        def assign(strategy, values):
            pairs = zip(tf.nest.flatten(self.state), values, strict=True)
            for variable, value in pairs:
                strategy.extended.update(
                    variable, lambda own, new: own.assign(new), args=(value,), group=False
                )

        tf.distribute.get_replica_context().merge_call(assign, args=(tf.nest.flatten(state),))
