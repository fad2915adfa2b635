"""Muon: momentum of matrices that is orthogonalized before each step, and Adam for the rest."""

import dataclasses
import math
from collections.abc import Sequence

import tensorflow as tf

from trainer.optimization.optimizer import Adam, Optimizer

# The polynomial a x + b x^3 + c x^5 of a Newton-Schulz step (Jordan et al., 2024). Its slope at 0
# is steep, so that small singular values grow fast. In return, the large ones do not converge to 1,
# but end between 0.68 and 1.21.
_A, _B, _C = 3.4445, -4.7750, 2.0315


@dataclasses.dataclass(frozen=True)
class Muon:
    """Muon (Jordan et al., 2024): the step of a matrix has singular values near 1.

    A dense kernel is a matrix already. A convolution's kernel of shape [height, width, inputs,
    outputs] becomes a matrix of shape [height * width * inputs, outputs], which maps a patch of the
    input to the outputs at one position. A transposed convolution's kernel of shape [height, width,
    outputs, inputs] becomes the matrix from the inputs at one position to a patch of the output.

    Vectors and scalars follow another rule, and so do two kinds of kernels: those with both sides
    larger than `largest_side`, whose orthogonalization would be expensive, and those with a side of
    1, such as a last layer of one channel or a depthwise convolution. Orthogonalization would only
    give a single row or column the norm 1.

    The rule knows only the shape of a parameter. It takes every parameter of rank 2 or more for a
    kernel, as `WeightDecay` does. A layer whose parameter is not a kernel, such as a learned map,
    therefore stores it as a vector and reshapes it for use.

    The step of a matrix is multiplied by 0.2 * sqrt(its larger side), as by Liu et al. (2025,
    arXiv:2502.16982) and `keras.optimizers.Muon`. The root mean square of its elements is then
    about 0.2, a usual value of Adam's steps, so that one learning rate fits both rules.

    Slots: the sum of a matrix's gradients, weighted by powers of the momentum; otherwise those of
    the other rule.

    Attributes:
      momentum: factor of the sum of gradients from one step to the next; Nesterov's momentum.
      iterations: number of Newton-Schulz steps.
      step_size: root mean square of the elements of a step, per unit of learning rate.
      largest_side: upper bound of the smaller side of a matrix.
      rest: the rule for all other parameters.
    """

    momentum: float = 0.95
    iterations: int = 5
    step_size: float = 0.2
    largest_side: int = 200
    rest: Optimizer = dataclasses.field(default_factory=Adam)

    def num_slots(self, shape: Sequence[int]) -> int:
        return 1 if self._is_orthogonalized(shape) else self.rest.num_slots(shape)

    def update(self, parameter, gradient, slots, rate, step):
        if not self._is_orthogonalized(parameter.shape):
            return self.rest.update(parameter, gradient, slots, rate, step)
        total = self.momentum * slots[0] + gradient
        ahead = self.momentum * total + gradient
        matrix = tf.reshape(ahead, [-1, parameter.shape[-1]])
        # One matrix at a time: batched products of matrices of one shape took twice as long on a
        # CPU, and no less when compiled by XLA.
        direction = orthogonalize(matrix, iterations=self.iterations)
        scale = rate * (self.step_size * math.sqrt(max(matrix.shape)))
        return parameter - scale * tf.reshape(direction, parameter.shape), [total]

    def _is_orthogonalized(self, shape: Sequence[int]) -> bool:
        if len(shape) < 2:
            return False
        return 1 < min(math.prod(shape[:-1]), shape[-1]) <= self.largest_side


def orthogonalize(matrix: tf.Tensor, *, iterations: int) -> tf.Tensor:
    """Brings the singular values of a matrix close to 1, and keeps its singular vectors.

    With five iterations, singular values of at least 0.002 times the Frobenius norm end between
    0.68 and 1.21, and smaller ones between 0 and that. A matrix of zeros remains one.

    Args:
      matrix: float32, shape [rows, columns].
      iterations: number of Newton-Schulz steps.
    """
    is_tall = matrix.shape[0] > matrix.shape[1]
    # The singular values are at most the Frobenius norm, and the iteration needs them at most 1.
    # The small constant, which is that of Keras and of the paper's code, keeps zeros finite.
    x = matrix / (tf.norm(matrix) + 1e-7)
    for _ in range(iterations):
        # a X + (b G + c G^2) X with G = X X^T, or its mirror image: G has the size of the smaller
        # side.
        gram = tf.matmul(x, x, transpose_a=is_tall, transpose_b=not is_tall)
        factor = _B * gram + tf.matmul(gram, _C * gram)
        x = _A * x + (tf.matmul(x, factor) if is_tall else tf.matmul(factor, x))
    return x
