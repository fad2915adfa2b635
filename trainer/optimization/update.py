"""The state of training, and its update: a pure function of the state and the summed gradients."""

import dataclasses
from typing import Any, NamedTuple

import tensorflow as tf

from trainer.devices.precision import LossScale
from trainer.optimization.optimizer import (
    Optimizer,
    Tensors,
    all_finite,
    clip_by_global_norm,
    update_averages,
)
from trainer.optimization.schedules import Schedule


class State(NamedTuple):
    """Everything that training changes, as variables or as the tensors read from them.

    Attributes:
      weights: the model's trainable weights.
      slots: the optimizer's slots of each weight.
      averages: exponential moving averages of the weights; empty if the run keeps none.
      step: int64, number of steps done; it determines the next examples and the next noise.
      updates: int64, number of steps that changed the weights; in float16, a step whose gradients
        overflow is skipped.
      loss_scale: float32, factor of the loss; 1 unless the precision is float16.
      good_steps: int32, number of steps since the loss scale last changed.
    """

    weights: list[Any]
    slots: list[list[Any]]
    averages: list[Any]
    step: Any
    updates: Any
    loss_scale: Any
    good_steps: Any

    def read(self) -> "State":
        """The values of a state of variables, as tensors."""
        return tf.nest.map_structure(tf.convert_to_tensor, self)

    def named(self) -> dict[str, Any]:
        """The variables or tensors by their names in a checkpoint, such as `slots/0003/1`."""
        names = [f"weights/{index:04d}" for index in range(len(self.weights))]
        names += [
            f"slots/{index:04d}/{slot}"
            for index, slots in enumerate(self.slots)
            for slot in range(len(slots))
        ]
        names += [f"averages/{index:04d}" for index in range(len(self.averages))]
        names += ["step", "updates", "loss_scale", "good_steps"]
        return dict(zip(names, tf.nest.flatten(self), strict=True))


@dataclasses.dataclass(frozen=True)
class Update:
    """The update of the weights and of everything that depends on them.

    Attributes:
      optimizer: the update rule.
      learning_rate: learning rate, by the number of updates done.
      clip_norm: upper bound of the global norm of the summed gradients; 0 for none.
      ema_decay: decay of the moving averages of the weights; 0 for no averages.
      loss_scale: dynamic loss scaling for float16; None for other precisions.
    """

    optimizer: Optimizer
    learning_rate: Schedule
    clip_norm: float = 0.0
    ema_decay: float = 0.0
    loss_scale: LossScale | None = None

    def initial_state(self, weights: list[tf.Variable]) -> State:
        """Variables for the state of a new run. Call it in the strategy's scope."""

        def variable(value: tf.Tensor | float, dtype: tf.DType = tf.float32) -> tf.Variable:
            return tf.Variable(value, trainable=False, dtype=dtype)

        def zeros(weight: tf.Variable) -> tf.Variable:
            return variable(tf.zeros(weight.shape))

        def slots(weight: tf.Variable) -> list[tf.Variable]:
            return [zeros(weight) for _ in range(self.optimizer.num_slots(weight.shape))]

        return State(
            weights=weights,
            slots=[slots(weight) for weight in weights],
            averages=[variable(weight.numpy()) for weight in weights] if self.ema_decay else [],
            step=variable(0, tf.int64),
            updates=variable(0, tf.int64),
            loss_scale=variable(self.loss_scale.initial if self.loss_scale else 1.0),
            good_steps=variable(0, tf.int32),
        )

    def __call__(self, state: State, gradients: Tensors) -> State:
        """Returns the state after a step.

        The gradients must already be summed over all replicas. Only their sum has the norm that is
        to be clipped, and an overflow on one replica must skip the step on all of them: otherwise
        the replicas' weights would diverge.

        Args:
          state: tensors, before the step.
          gradients: gradients of the loss times the state's loss scale.
        """
        if self.loss_scale is not None:
            gradients = [gradient / state.loss_scale for gradient in gradients]
        finite = all_finite(gradients) if self.loss_scale is not None else None
        if self.clip_norm:
            gradients = clip_by_global_norm(gradients, self.clip_norm)
        rate = self.learning_rate(state.updates)
        weights, slots = [], []
        for weight, gradient, old_slots in zip(state.weights, gradients, state.slots, strict=True):
            new_weight, new_slots = self.optimizer.update(
                weight, gradient, old_slots, rate, state.updates
            )
            weights.append(new_weight)
            slots.append(new_slots)
        averages = state.averages
        if self.ema_decay:
            averages = update_averages(averages, weights, decay=self.ema_decay, step=state.updates)
        updated = state._replace(
            weights=weights, slots=slots, averages=averages, updates=state.updates + 1
        )
        if self.loss_scale is not None:
            # A step whose gradients overflowed is skipped: weights, slots, averages and the number
            # of updates keep their values. Only the step advances, so that the next step has other
            # examples.
            updated = tf.nest.map_structure(
                lambda new, old: tf.where(finite, new, old), updated, state
            )
            scale, good_steps = self.loss_scale.update(state.loss_scale, state.good_steps, finite)
            updated = updated._replace(loss_scale=scale, good_steps=good_steps)
        return updated._replace(step=state.step + 1)
