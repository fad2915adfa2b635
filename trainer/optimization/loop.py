"""The training loop: many steps per call, under a distribution strategy.

A step is a pure function of tensors, (state, batch) -> (state, sums of rate and distortion). The
variables that hold the state between calls are read before it and assigned after it. A pure
function is easy to compile with XLA, and easy to test: the same state and batch always give the
same result.

With one replica, all steps of a call are one such function. XLA compiles the loop over the steps
into a single program, which leaves no overhead per step.

With several replicas, the gradients of every step are summed over the replicas. XLA cannot compile
this reduction, and TensorFlow does not allow it in control flow inside `strategy.run`. Therefore
the loop is outside: each iteration runs one step on all replicas, and only the parts before and
after the reduction are compiled.

Examples and noise depend only on (seed, step), and the loss is divided by the number of examples
in the global batch. So the number of replicas, hosts and micro-batches changes only the order of
summation.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from components.base.arithmetic import ceil_div
from components.data.batches import Batches
from components.model.corruption import CHOICES, Corruption
from components.model.noise import standard_normal, uniform
from components.model.objective import Objective
from components.model.pixels import to_unit
from components.model.vae import VAE
from trainer.devices.hosts import Host
from trainer.optimization.schedules import Schedule
from trainer.optimization.update import State, Update

# AutoGraph would spend seconds looking for Python control flow to convert, and there is none.
_function = functools.partial(tf.function, autograph=False)

# The streams of random numbers of a step: for the latents, for the pixels of binarized images, and
# for the values and the kind and strength of a corruption.
_LATENTS, _PIXELS, _CORRUPTED, _CHOICES = range(4)

# Tensors by name with a row for each example of a batch: `pixels` (uint8 images) and, for a
# conditional model, `labels` (int32); in a call, those of several steps.
Examples = dict[str, tf.Tensor]


@dataclasses.dataclass(frozen=True)
class StepConfig:
    """The settings of the steps of a run.

    Attributes:
      update: the update of the weights.
      objective: the bound whose gradient is followed.
      beta: weight of the rate in the loss, by step.
      free_bits: floor of each rate in the loss, in nats: see `Objective`.
      seed: seed of the noise.
      corruption: of the images that the encoder sees; None for none.
      accumulate: number of micro-batches that a replica splits its share of a batch into. Their
        gradients are computed one after the other and added up, which saves memory.
      steps_per_call: largest number of steps between returns to Python.
      compiled: whether XLA compiles the steps.
    """

    update: Update
    objective: Objective
    beta: Schedule
    free_bits: float = 0.0
    seed: int = 0
    corruption: Corruption | None = None
    accumulate: int = 1
    steps_per_call: int = 100
    compiled: bool = True


class Loop:
    """Trains a VAE.

    Args:
      strategy: distribution strategy over all replicas.
      model: the VAE, created in the strategy's scope.
      batches: the training examples.
      step_config: the settings of a step.
      host: this host's place among the strategy's hosts.
    """

    def __init__(
        self,
        *,
        strategy: tf.distribute.Strategy,
        model: VAE,
        batches: Batches,
        step_config: StepConfig,
        host: Host = Host(),  # noqa: B008 - frozen
    ):
        self._strategy = strategy
        self._model = model
        self._batches = batches
        self.step_config = step_config
        replicas = strategy.num_replicas_in_sync
        # Every replica gets the same number of examples, in equal micro-batches, so that all shapes
        # are constant. The batch is padded to this size.
        self._micro_batch_size = ceil_div(batches.batch_size, replicas * step_config.accumulate)
        self._replica_batch_size = self._micro_batch_size * step_config.accumulate
        self._padded_batch_size = self._replica_batch_size * replicas
        # The shares of this host's replicas are consecutive in the batch.
        host_batch_size = self._replica_batch_size * (replicas // host.count)
        self._columns = slice(host.index * host_batch_size, (host.index + 1) * host_batch_size)
        with strategy.scope():
            weights = [weight.value for weight in model.trainable_variables]
            self.state = step_config.update.initial_state(weights)
        self._call = self._build()

    def run(self, num_steps: int) -> np.ndarray:
        """Trains for `num_steps` steps, at most `StepConfig.steps_per_call`.

        Returns:
          float32, shape [num_steps, 2]: rate and distortion of each step's batch, in nats, summed
          over its examples.
        """
        # The padding of steps and examples keeps the shapes constant: with another shape,
        # TensorFlow would compile the call again.
        chunk = self._batches.chunk(
            int(self.state.step.numpy()),
            num_steps,
            pad_to=(self.step_config.steps_per_call, self._padded_batch_size),
            columns=self._columns,
        )
        arrays = {"pixels": chunk.images}
        if chunk.labels is not None:
            arrays["labels"] = chunk.labels
        examples, counts = self._distribute(arrays), tf.constant(chunk.counts)
        return self._call(examples, counts, tf.constant(num_steps)).numpy()[:num_steps]

    def state_arrays(self) -> dict[str, np.ndarray]:
        """The values of the training state by name, for a checkpoint."""
        return {name: variable.numpy() for name, variable in self.state.named().items()}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Sets the training state to arrays that `state_arrays` returned."""
        for name, variable in self.state.named().items():
            variable.assign(arrays[name])

    def _distribute(self, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
        """Copies each local replica's share of the examples to its device.

        Args:
          arrays: by name, each of shape [steps, host batch, ...].
        """
        devices = self._strategy.extended.worker_devices

        def share(context: tf.distribute.experimental.ValueContext) -> dict[str, tf.Tensor]:
            local_replica = context.replica_id_in_sync_group % len(devices)
            start = local_replica * self._replica_batch_size
            columns = slice(start, start + self._replica_batch_size)
            with tf.device(devices[local_replica]):
                return {name: tf.constant(array[:, columns]) for name, array in arrays.items()}

        return self._strategy.experimental_distribute_values_from_function(share)

    def _build(self) -> Callable[..., tf.Tensor]:
        """The function of (examples, counts, num_steps) that runs the steps of a call."""
        if self._strategy.num_replicas_in_sync == 1:
            return self._build_single()
        return self._build_replicated()

    def _compiled_if_configured(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return _function(function, jit_compile=True) if self.step_config.compiled else function

    def _build_single(self) -> Callable[..., tf.Tensor]:
        steps_per_call = self.step_config.steps_per_call

        def run_steps(state: State, examples: Examples, counts: tf.Tensor, num_steps: tf.Tensor):
            def body(index, state, sums):
                batch = _at(examples, index)
                gradients, step_sums = self._gradients(state, batch, counts[index], 0)
                state = self.step_config.update(state, gradients)
                return index + 1, state, sums.write(index, step_sums)

            sums = tf.TensorArray(tf.float32, steps_per_call, element_shape=[2])
            # Each step needs the state of the one before.
            _, state, sums = tf.while_loop(
                lambda index, *_: index < num_steps, body, (0, state, sums), parallel_iterations=1
            )
            return state, sums.stack()

        # The whole loop is one compiled function of tensors: variables are read before it and
        # assigned after it, once per call.
        run_steps = self._compiled_if_configured(run_steps)

        def replica_call(examples, counts, num_steps):
            state, sums = run_steps(self.state.read(), examples, counts, num_steps)
            self._assign(state)
            return sums

        @_function
        def call(examples, counts, num_steps):
            return self._strategy.run(replica_call, args=(examples, counts, num_steps))

        return call

    def _build_replicated(self) -> Callable[..., tf.Tensor]:
        steps_per_call = self.step_config.steps_per_call
        # Compiled in two parts, since XLA cannot compile the reduction between them.
        compute_gradients = self._compiled_if_configured(self._gradients)
        update = self._compiled_if_configured(self.step_config.update)

        def replica_step(examples, counts, index):
            context = tf.distribute.get_replica_context()
            replica = context.replica_id_in_sync_group
            state = self.state.read()
            batch = _at(examples, index)
            gradients, sums = compute_gradients(state, batch, counts[index], replica)
            # Each replica has divided by the size of the global batch, so the sum of the gradients
            # is the gradient of the batch's mean loss. It is taken before the update, which clips
            # the norm of the whole gradient and checks all of it for overflow: so every replica
            # makes the same update, and their weights stay equal.
            gradients, sums = context.all_reduce("SUM", [gradients, sums])
            self._assign(update(state, gradients))
            return sums

        @_function
        def call(examples, counts, num_steps):
            def body(index, all_sums):
                sums = self._strategy.run(replica_step, args=(examples, counts, index))
                # After the reduction, the sums are the same on every replica.
                first_sums = self._strategy.experimental_local_results(sums)[0]
                return index + 1, all_sums.write(index, first_sums)

            all_sums = tf.TensorArray(tf.float32, steps_per_call, element_shape=[2])
            _, all_sums = tf.while_loop(
                lambda index, _: index < num_steps, body, (0, all_sums), parallel_iterations=1
            )
            return all_sums.stack()

        return call

    def _gradients(
        self, state: State, examples: Examples, count: tf.Tensor, replica: int | tf.Tensor
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        """One replica's part of the gradients of a step.

        Args:
          state: tensors.
          examples: the replica's share of the batch.
          count: number of examples in the global batch, without padding.
          replica: index of the replica among all replicas.

        Returns:
          The gradients of the loss times the loss scale with respect to each weight, and the sums
          of rate and distortion over the replica's examples, in nats, shape [2].
        """
        first = replica * self._replica_batch_size
        is_example = first + tf.range(self._replica_batch_size) < count
        draws = {
            name: numbers[first : first + self._replica_batch_size]
            for name, numbers in self._draws(state.step).items()
        }
        tensors = {"is_example": is_example, **examples, **draws}
        if self.step_config.accumulate == 1:
            return self._micro_batch_gradients(state, tensors, count)
        # Reshaped to [micro-batches, examples, ...] and indexed, since XLA needs slices of constant
        # size.
        leading = [self.step_config.accumulate, self._micro_batch_size]
        tensors = {
            name: tf.reshape(tensor, leading + tensor.shape[1:]) for name, tensor in tensors.items()
        }

        def body(index, gradients, sums):
            more_gradients, more_sums = self._micro_batch_gradients(
                state, _at(tensors, index), count
            )
            gradients = [a + b for a, b in zip(gradients, more_gradients, strict=True)]
            return index + 1, gradients, sums + more_sums

        start = (0, [tf.zeros_like(weight) for weight in state.weights], tf.zeros([2]))
        # One micro-batch after the other, so that only one set of activations is in memory.
        _, gradients, sums = tf.while_loop(
            lambda index, *_: index < self.step_config.accumulate,
            body,
            start,
            parallel_iterations=1,
        )
        return gradients, sums

    def _micro_batch_gradients(
        self, state: State, micro_batch: Examples, count: tf.Tensor
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        """A micro-batch's part of the gradients of a step. Returns what `_gradients` does.

        Args:
          state: tensors.
          micro_batch: examples, what `_draws` gives, and a mask `is_example` that is false for
            padding.
          count: number of examples in the global batch, without padding.
        """
        is_example = micro_batch["is_example"]
        objective, size = self.step_config.objective, self._micro_batch_size
        pixels = tf.ensure_shape(micro_batch["pixels"], [size, *self._model.image_shape])
        noise = tf.ensure_shape(
            micro_batch["noise"], [size, objective.samples * self._model.latents]
        )
        labels = micro_batch.get("labels")
        if labels is not None:
            labels = tf.ensure_shape(labels, [size])
        images = to_unit(pixels)
        if "uniforms" in micro_batch:
            # A pixel is 1 with its intensity as the probability, drawn anew at every step.
            uniforms = tf.ensure_shape(micro_batch["uniforms"], images.shape)
            images = tf.cast(uniforms < images, tf.float32)
        seen = None
        if self.step_config.corruption is not None:
            seen = self.step_config.corruption(
                images,
                tf.ensure_shape(micro_batch["corrupted"], images.shape),
                tf.ensure_shape(micro_batch["choices"], [size, CHOICES]),
            )
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(state.weights)
            variables = self._model.trainable_variables
            # Within this scope, the model computes with the state's tensors in place of its own
            # variables. That makes the loss a function of tensors.
            with keras.StatelessScope(list(zip(variables, state.weights, strict=True))):
                losses = objective(
                    self._model,
                    images,
                    noise,
                    labels,
                    seen=seen,
                    beta=self.step_config.beta(state.step),
                    free_bits=self.step_config.free_bits,
                )
            # Padding contributes neither to the sums nor to the gradients.
            total = tf.reduce_sum(tf.where(is_example, losses.loss, 0.0))
            scaled_loss = total / tf.cast(count, tf.float32) * state.loss_scale
        sums = [
            tf.reduce_sum(tf.where(is_example, nats, 0.0))
            for nats in (losses.rate, losses.distortion)
        ]
        return tape.gradient(scaled_loss, state.weights), tf.stack(sums)

    def _draws(self, step: tf.Tensor) -> Examples:
        """The random numbers of a step, each of shape [padded batch, ...].

        Every replica draws those of the global batch and takes its share, so that an example gets
        the same numbers for any number of replicas.

        Returns:
          noise: standard normal, shape [padded batch, samples * latents]; for binarized images,
          uniforms: shape [padded batch, height, width, channels]; and, for a corruption, uniforms
          of the same shape as `corrupted`, and `choices`: shape [padded batch, CHOICES].
        """
        batch_size, seed = self._batches.batch_size, self.step_config.seed
        samples = self.step_config.objective.samples
        shape: tuple[int, ...] = (batch_size, samples * self._model.latents)
        draws = {"noise": standard_normal(shape, seed=seed, step=step, stream=_LATENTS)}
        shape = (batch_size, *self._model.image_shape)
        if self._model.family.binarizes:
            draws["uniforms"] = uniform(shape, seed=seed, step=step, stream=_PIXELS)
        if self.step_config.corruption is not None:
            draws["corrupted"] = uniform(shape, seed=seed, step=step, stream=_CORRUPTED)
            shape = (batch_size, CHOICES)
            draws["choices"] = uniform(shape, seed=seed, step=step, stream=_CHOICES)
        padding = self._padded_batch_size - batch_size
        return {
            name: tf.pad(numbers, [[0, padding]] + [[0, 0]] * (len(numbers.shape) - 1))
            for name, numbers in draws.items()
        }

    def _assign(self, state: State) -> None:
        """Assigns tensors to the state's variables, in replica context.

        One `merge_call` assigns all variables, since each call synchronizes the replicas.
        """

        def assign(strategy, values):
            pairs = zip(tf.nest.flatten(self.state), values, strict=True)
            for variable, value in pairs:
                strategy.extended.update(
                    variable,
                    lambda component, new_value: component.assign(new_value),
                    args=(value,),
                    group=False,
                )

        tf.distribute.get_replica_context().merge_call(assign, args=(tf.nest.flatten(state),))


def _at(tensors: Examples, index: tf.Tensor) -> Examples:
    """The part of every tensor at an index of the first dimension."""
    return {name: tensor[index] for name, tensor in tensors.items()}
