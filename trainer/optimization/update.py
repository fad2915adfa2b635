"""What a step changes, and how: a pure function of the state and the reduced gradients."""

import dataclasses
from typing import Any, NamedTuple

import tensorflow as tf

from trainer.devices.precision import LossScale
from trainer.optimization.optimizer import (
    Optimizer,
    Tensors,
    all_finite,
    averaged,
    clip_by_global_norm,
)
from trainer.optimization.schedules import Schedule


class State(NamedTuple):
    """All that training changes; tensors, or the variables that hold them.

    Attributes:
      weights: the model's trainable weights.
      slots: the optimizer's, for each weight.
      averages: of the weights, exponentially decaying; empty without.
      step: int64, steps done: which examples and which noise come next.
      updates: int64, steps that changed the weights: in float16 some are skipped.
      loss_scale: float32; 1 unless in float16.
      good_steps: int32, steps since the loss scale changed.
    """

    weights: list[Any]
    slots: list[list[Any]]
    averages: list[Any]
    step: Any
    updates: Any
    loss_scale: Any
    good_steps: Any

    def read(self) -> "State":
        """The tensors of a state of variables."""
        return tf.nest.map_structure(tf.convert_to_tensor, self)

    def named(self) -> dict[str, Any]:
        """The members by name, in order, as a checkpoint holds them."""
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
    """An update of the weights, and of all that goes with it.

    Attributes:
      optimizer: the update rule.
      schedule: learning rate, by updates done.
      clip_norm: bound of the reduced gradients' global norm, 0 for none.
      ema_decay: of the weights' averages, 0 for none.
      loss_scale: for float16, else None.
    """

    optimizer: Optimizer
    schedule: Schedule
    clip_norm: float = 0.0
    ema_decay: float = 0.0
    loss_scale: LossScale | None = None

    def initial_state(self, weights: list[tf.Variable]) -> State:
        """Variables for the state of a run that begins; to be called in the strategy's scope."""

        def variable(value: tf.Tensor | float, dtype: tf.DType = tf.float32) -> tf.Variable:
            return tf.Variable(value, trainable=False, dtype=dtype)

        def zeros(weight: tf.Variable) -> tf.Variable:
            return variable(tf.zeros(weight.shape))

        return State(
            weights=weights,
            slots=[[zeros(weight) for _ in range(self.optimizer.num_slots)] for weight in weights],
            averages=[variable(weight.numpy()) for weight in weights] if self.ema_decay else [],
            step=variable(0, tf.int64),
            updates=variable(0, tf.int64),
            loss_scale=variable(self.loss_scale.initial if self.loss_scale else 1.0),
            good_steps=variable(0, tf.int32),
        )

    def __call__(self, state: State, gradients: Tensors) -> State:
        """The state after a step.

        Args:
          state: tensors.
          gradients: of the loss times the state's loss scale, summed over all replicas: an overflow
            on one of them is everyone's, and the norm is that of the whole batch's gradient.
        """
        if self.loss_scale is not None:
            gradients = [gradient / state.loss_scale for gradient in gradients]
        finite = all_finite(gradients) if self.loss_scale is not None else None
        if self.clip_norm:
            gradients = clip_by_global_norm(gradients, self.clip_norm)
        rate = self.schedule(state.updates)
        weights, slots = [], []
        for weight, gradient, old in zip(state.weights, gradients, state.slots, strict=True):
            weight, new = self.optimizer.update(weight, gradient, old, rate, state.updates)
            weights.append(weight)
            slots.append(new)
        averages = state.averages
        if self.ema_decay:
            averages = averaged(averages, weights, decay=self.ema_decay, step=state.updates)
        updated = state._replace(
            weights=weights, slots=slots, averages=averages, updates=state.updates + 1
        )
        if self.loss_scale is not None:
            # A gradient that overflowed changes no weight, no moment and no count but the step's,
            # so that the next step has other examples.
            updated = tf.nest.map_structure(
                lambda new, old: tf.where(finite, new, old), updated, state
            )
            scale, good_steps = self.loss_scale.update(state.loss_scale, state.good_steps, finite)
            updated = updated._replace(loss_scale=scale, good_steps=good_steps)
        return updated._replace(step=state.step + 1)
