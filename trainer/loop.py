"""The training loop: many steps per call, under a distribution strategy.

A step is a pure function of tensors, (state, batch) -> (state, sums). With one replica the whole
call, all its steps, is one function of tensors, so that XLA can compile it as one program; the
variables are read at its start and assigned at its end. With several, each step's gradients are
summed over the replicas, which may not happen inside a compiled loop: there the loop stands outside
and only the gradients and the update are compiled.

Examples and noise depend on (seed, step) alone and losses are divided by the global count, so the
number of replicas changes nothing but the order of summation.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from components.batches import Batches
from components.noise import standard_normal
from components.vae import VAE, to_unit
from trainer.optimizer import Optimizer, all_finite, clip_by_global_norm
from trainer.precision import LossScale
from trainer.schedules import Schedule


class State(NamedTuple):
    """All that training changes; tensors, or the variables that hold them.

    Attributes:
      weights: the model's trainable weights.
      slots: the optimizer's, for each weight.
      step: int64, steps done.
      loss_scale: float32; 1 unless in float16.
      good_steps: int32, steps since the loss scale changed.
    """

    weights: list[Any]
    slots: list[list[Any]]
    step: Any
    loss_scale: Any
    good_steps: Any


class Loop:
    """Fits a VAE.

    Args:
      strategy: over which replicas; the model was made in its scope.
      model: the VAE.
      optimizer: the update rule.
      schedule: learning rate by step.
      batches: the training examples.
      steps_per_call: the most steps of one call.
      beta: weight of the rate: loss = distortion + beta * rate.
      clip_norm: bound of the reduced gradients' global norm, 0 for none.
      seed: of the noise.
      loss_scale: for float16, else None.
      compiled: whether XLA compiles the steps.
    """

    def __init__(
        self,
        *,
        strategy: tf.distribute.Strategy,
        model: VAE,
        optimizer: Optimizer,
        schedule: Schedule,
        batches: Batches,
        steps_per_call: int,
        beta: float,
        clip_norm: float,
        seed: int,
        loss_scale: LossScale | None,
        compiled: bool,
    ):
        self._strategy = strategy
        self._model = model
        self._optimizer = optimizer
        self._schedule = schedule
        self._batches = batches
        self._beta = beta
        self._clip_norm = clip_norm
        self._seed = seed
        self._loss_scale = loss_scale
        self.steps_per_call = steps_per_call
        self._replica_batch = -(-batches.batch_size // strategy.num_replicas_in_sync)

        with strategy.scope():
            weights = [weight.value for weight in model.trainable_variables]
            self.state = State(
                weights=weights,
                slots=[[_zeros_like(w) for _ in range(optimizer.num_slots)] for w in weights],
                step=tf.Variable(0, dtype=tf.int64, trainable=False),
                loss_scale=tf.Variable(loss_scale.initial if loss_scale else 1.0, trainable=False),
                good_steps=tf.Variable(0, trainable=False),
            )
        self._call = self._build(compiled)

    def run(self, num_steps: int) -> np.ndarray:
        """Trains for `num_steps` steps, at most `steps_per_call`.

        Returns:
          float32 [num_steps, 2]: the rate and the distortion of each step's batch, in nats, summed
          over its examples.
        """
        replicas = self._strategy.num_replicas_in_sync
        chunk = self._batches.chunk(
            int(self.state.step.numpy()),
            num_steps,
            pad_to=(self.steps_per_call, self._replica_batch * replicas),
        )

        def part(context: tf.distribute.experimental.ValueContext) -> tf.Tensor:
            replica = context.replica_id_in_sync_group
            first = replica * self._replica_batch
            with tf.device(self._strategy.extended.worker_devices[replica]):
                return tf.constant(chunk.images[:, first : first + self._replica_batch])

        images = self._strategy.experimental_distribute_values_from_function(part)
        counts = tf.constant(chunk.counts)
        return self._call(images, counts, tf.constant(num_steps)).numpy()[:num_steps]

    def state_arrays(self) -> list[np.ndarray]:
        """The training state's values, for a checkpoint."""
        return [variable.numpy() for variable in tf.nest.flatten(self.state)]

    def restore(self, arrays: Sequence[np.ndarray]) -> None:
        """Takes up a state that `state_arrays` gave."""
        for variable, array in zip(tf.nest.flatten(self.state), arrays, strict=True):
            variable.assign(array)

    def _build(self, compiled: bool) -> Callable[..., tf.Tensor]:
        def compile_(function: Callable[..., Any]) -> Callable[..., Any]:
            return tf.function(function, jit_compile=True) if compiled else function

        if self._strategy.num_replicas_in_sync == 1:
            return self._build_single(compile_)
        return self._build_replicated(compile_)

    def _build_single(self, compile_: Callable) -> Callable[..., tf.Tensor]:
        def step(state: State, images: tf.Tensor, count: tf.Tensor) -> tuple[State, tf.Tensor]:
            gradients, sums = self._gradients(state, images, count, 0)
            return self._update(state, gradients), sums

        def steps(state: State, images: tf.Tensor, counts: tf.Tensor, num_steps: tf.Tensor):
            def body(index, state, sums):
                state, step_sums = step(state, images[index], counts[index])
                return index + 1, state, sums.write(index, step_sums)

            sums = tf.TensorArray(tf.float32, self.steps_per_call, element_shape=[2])
            _, state, sums = tf.while_loop(
                lambda index, *_: index < num_steps, body, (0, state, sums), parallel_iterations=1
            )
            return state, sums.stack()

        steps = compile_(steps)

        def replica_call(images, counts, num_steps):
            state, sums = steps(_read(self.state), images, counts, num_steps)
            self._assign(state)
            return sums

        @tf.function
        def call(images, counts, num_steps):
            return self._strategy.run(replica_call, args=(images, counts, num_steps))

        return call

    def _build_replicated(self, compile_: Callable) -> Callable[..., tf.Tensor]:
        gradients_of = compile_(self._gradients)
        update = compile_(self._update)

        def replica_step(images, counts, index):
            context = tf.distribute.get_replica_context()
            replica = context.replica_id_in_sync_group
            state = _read(self.state)
            gradients, sums = gradients_of(state, images[index], counts[index], replica)
            # Every replica divided by the global count, so the sum is the global mean.
            gradients, sums = context.all_reduce("SUM", [gradients, sums])
            self._assign(update(state, gradients))
            return sums

        @tf.function
        def call(images, counts, num_steps):
            all_sums = tf.TensorArray(tf.float32, self.steps_per_call, element_shape=[2])
            for index in tf.range(num_steps):
                sums = self._strategy.run(replica_step, args=(images, counts, index))
                first = self._strategy.experimental_local_results(sums)[0]
                all_sums = all_sums.write(index, first)
            return all_sums.stack()

        return call

    def _gradients(
        self, state: State, pixels: tf.Tensor, count: tf.Tensor, replica: int | tf.Tensor
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        """This replica's part of the (scaled) loss's gradients, and its sums [rate, distortion]."""
        first = replica * self._replica_batch
        noise = self._noise(state.step)[first : first + self._replica_batch]
        is_example = first + tf.range(self._replica_batch) < count
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(state.weights)
            variables = self._model.trainable_variables
            with keras.StatelessScope(list(zip(variables, state.weights, strict=True))):
                parts = self._model.rate_and_distortion(to_unit(pixels), noise)
            # Padding is masked out of sums and gradients alike.
            rate, distortion = (tf.reduce_sum(tf.where(is_example, part, 0.0)) for part in parts)
            loss = (distortion + self._beta * rate) / tf.cast(count, tf.float32)
            scaled_loss = loss * state.loss_scale
        return tape.gradient(scaled_loss, state.weights), tf.stack([rate, distortion])

    def _noise(self, step: tf.Tensor) -> tf.Tensor:
        """The whole global batch's noise, padded to equal parts: [replicas * part, latents]."""
        batch_size = self._batches.batch_size
        noise = standard_normal((batch_size, self._model.latents), seed=self._seed, step=step)
        padding = self._replica_batch * self._strategy.num_replicas_in_sync - batch_size
        return tf.pad(noise, [[0, padding], [0, 0]])

    def _update(self, state: State, gradients: list[tf.Tensor]) -> State:
        """The state after a step, given the reduced gradients."""
        gradients = [gradient / state.loss_scale for gradient in gradients]
        finite = all_finite(gradients)
        if self._clip_norm:
            gradients = clip_by_global_norm(gradients, self._clip_norm)
        rate = self._schedule(state.step)
        weights, slots = [], []
        for weight, gradient, old in zip(state.weights, gradients, state.slots, strict=True):
            weight, new = self._optimizer.update(weight, gradient, old, rate, state.step)
            weights.append(weight)
            slots.append(new)
        updated = state._replace(weights=weights, slots=slots, step=state.step + 1)
        if self._loss_scale is None:
            return updated
        scale, good_steps = self._loss_scale.update(state.loss_scale, state.good_steps, finite)
        # A gradient that overflowed changes neither weights nor moments; the step still counts, so
        # that the next one has other examples.
        kept = tf.nest.map_structure(lambda new, old: tf.where(finite, new, old), updated, state)
        return kept._replace(step=updated.step, loss_scale=scale, good_steps=good_steps)

    def _assign(self, state: State) -> None:
        """Assigns every variable on every replica; in the replica context, all in one merge."""

        def assign(strategy, values):
            pairs = zip(tf.nest.flatten(self.state), values, strict=True)
            for variable, value in pairs:
                strategy.extended.update(
                    variable, lambda own, new: own.assign(new), args=(value,), group=False
                )

        tf.distribute.get_replica_context().merge_call(assign, args=(tf.nest.flatten(state),))


def _read(state: State) -> State:
    return tf.nest.map_structure(tf.convert_to_tensor, state)


def _zeros_like(weight: tf.Variable) -> tf.Variable:
    return tf.Variable(tf.zeros(weight.shape), trainable=False)
