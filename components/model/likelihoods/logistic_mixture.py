"""Mixtures of discretized logistics over 256 levels (Salimans et al., 2017) and of black."""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from components.model import xla
from components.model.likelihoods.likelihood import sum_over_event
from components.model.likelihoods.log_scales import bounded

_LEVELS = 256

# The distance between two levels, in units of intensity.
_STEP = 1 / (_LEVELS - 1)

# An output of 0 is a scale of 21 levels, so that five components cover all levels at the start. At
# the lowest, a twelfth of a level, all but 0.6 % of the mass is at the level of the mean. The
# highest is flat over all levels.
_LOG_SCALE_START, _LOG_SCALE_LOW, _LOG_SCALE_HIGH = -2.5, -8.0, 0.0

# The logarithm of a probability of 0, with finite gradients.
_LOG_ZERO = -1e30


@dataclasses.dataclass(frozen=True)
class LogisticMixture:
    """Independent pixels of 256 levels, each a mixture of discretized logistics and of black.

    A component draws all channels of a pixel. Each channel is a logistic variable rounded to the
    nearest level; level 0 takes all mass below it, and level 255 all mass above. The location of a
    channel is its mean plus a linear term in the channels before it. One more category of the
    mixture is black, which is 0 in all channels.

    Attributes:
      outputs: the parameters in the order of `LogisticMixtureFamily`, float32, shape [batch,
        height, width, outputs].
      components: number of logistic components.
      channels: number of channels of a pixel.
    """

    outputs: tf.Tensor
    components: int
    channels: int

    def log_prob(self, x: tf.Tensor) -> tf.Tensor:
        """The log-probability of images in nats, shape [batch].

        Args:
          x: intensities of levels, k / 255, shape [batch, height, width, channels].
        """
        return sum_over_event(self.log_prob_by_pixel(x))

    def log_prob_by_pixel(self, x: tf.Tensor) -> tf.Tensor:
        """The log-probability of each pixel in nats, shape [batch, height, width]."""

        def log_prob(outputs: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
            return _log_prob_by_pixel(outputs, x, self.components, self.channels)

        # Outside of a graph, each call would compile it again.
        compiles = xla.parts_compile() and not tf.executing_eagerly()
        function = _compiled(log_prob) if compiles else log_prob
        return function(self.outputs, x)

    def mean(self) -> tf.Tensor:
        """The means as intensities, shape [batch, height, width, channels].

        The mean of the first channel is exact. The linear terms of the others use the component's
        means of the channels before, which is exact where the component has no mass at an edge.
        """
        logits, channels = _parameters(self.outputs, self.components, self.channels)
        expected: list[tf.Tensor] = []
        for channel in channels:
            expected.append(_mean(channel.location(expected), channel.log_scales))
        # Black adds 0 to the mean.
        weights = tf.nn.softmax(logits)[..., :-1]
        return tf.stack([tf.reduce_sum(weights * each, axis=-1) for each in expected], axis=-1)

    def sample(self, uniforms: tf.Tensor) -> tf.Tensor:
        """Intensities of levels, k / 255, shape [batch, height, width, channels].

        Args:
          uniforms: the first draws the category, the others the channels; shape [batch, height,
            width, 1 + channels].
        """
        logits, channels = _parameters(self.outputs, self.components, self.channels)
        draw, *draws = tf.unstack(uniforms, axis=-1)
        cumulative = tf.cumsum(tf.nn.softmax(logits), axis=-1)[..., :-1]
        category = tf.reduce_sum(tf.cast(draw[..., tf.newaxis] > cumulative, tf.int32), axis=-1)
        # Black is the last category, for which no component is chosen.
        is_black = tf.equal(category, self.components)
        chosen = tf.one_hot(category, self.components)
        values: list[tf.Tensor] = []
        for u, channel in zip(draws, channels, strict=True):
            earlier = [value[..., tf.newaxis] for value in values]
            location = tf.reduce_sum(chosen * channel.location(earlier), axis=-1)
            scale = tf.exp(tf.reduce_sum(chosen * channel.log_scales, axis=-1))
            # The quantile function of a logistic: F⁻¹(u) = m + s log(u / (1 - u))
            value = location + scale * (tf.math.log(u) - tf.math.log1p(-u))
            level = tf.clip_by_value(tf.round(value * (_LEVELS - 1)), 0.0, _LEVELS - 1.0)
            values.append(tf.where(is_black, 0.0, level / (_LEVELS - 1)))
        return tf.stack(values, axis=-1)


@dataclasses.dataclass(frozen=True)
class LogisticMixtureFamily:
    """The parameters of a mixture of discretized logistics, for pixels of any number of channels.

    The outputs for a pixel with C channels and a mixture with K components are, in this order:

    - K log-weights of the components, and one of black, not normalized;
    - K means of the first channel, K of the second, and so on, in units of intensity. They are
      added to K constants that spread the components over [0, 1];
    - K log-scales of the first channel, K of the second, and so on. They are bounded;
    - K coefficients of the first channel in the location of the second; K of the first in the
      third; K of the second in the third; and so on. Their tanh is the coefficient, and what it
      multiplies is the intensity of the earlier channel less 0.5.

    Attributes:
      components: number of logistic components, K.
    """

    components: int = 5

    @property
    def binarizes(self) -> bool:
        """False: the data are intensities of levels."""
        return False

    @property
    def levels(self) -> int | None:
        """256."""
        return _LEVELS

    @property
    def is_pixelwise(self) -> bool:
        """True: the outputs of a pixel are its parameters."""
        return True

    def num_outputs(self, channels: int) -> int:
        """16 for gray pixels and 51 for RGB, with five components."""
        coefficients = channels * (channels - 1) // 2
        return self.components + 1 + self.components * (2 * channels + coefficients)

    def num_uniforms(self, channels: int) -> int:
        """One for the category, and one for each channel."""
        return 1 + channels

    def distribution(self, outputs: tf.Tensor) -> LogisticMixture:
        """The mixtures with these parameters, [batch, height, width, num_outputs(channels)]."""
        channels = self._num_channels(outputs.shape[-1])
        return LogisticMixture(tf.cast(outputs, tf.float32), self.components, channels)

    def _num_channels(self, outputs: int) -> int:
        """The number of channels that have as many outputs."""
        channels = 1
        while self.num_outputs(channels) < outputs:
            channels += 1
        if self.num_outputs(channels) != outputs:
            raise ValueError(
                f"{self.components} components have {self.num_outputs(1)} outputs for one channel, "
                f"{self.num_outputs(3)} for three. Received: {outputs} outputs"
            )
        return channels


LOGISTIC_MIXTURE = LogisticMixtureFamily()


@dataclasses.dataclass(frozen=True)
class _Channel:
    """The parameters of one channel, each of shape [batch, height, width, components].

    Attributes:
      means: in units of intensity.
      log_scales: natural logarithms of scales in units of intensity.
      coefficients: those of each channel before this one.
    """

    means: tf.Tensor
    log_scales: tf.Tensor
    coefficients: list[tf.Tensor]

    def location(self, earlier: list[tf.Tensor]) -> tf.Tensor:
        """The means plus the linear terms in the intensities of the channels before."""
        terms = zip(self.coefficients, earlier, strict=True)
        return self.means + sum(coefficient * (value - 0.5) for coefficient, value in terms)


def _parameters(
    outputs: tf.Tensor, components: int, channels: int
) -> tuple[tf.Tensor, list[_Channel]]:
    """The log-weights, [batch, height, width, components + 1], and the parameters by channel."""
    blocks = 2 * channels + channels * (channels - 1) // 2
    sizes = [components + 1, *[components] * blocks]
    logits, *parameters = tf.split(outputs, sizes, axis=-1)
    # The middles of as many equal parts of [0, 1] as there are components.
    spread = (np.arange(components, dtype=np.float32) + 0.5) / components
    coefficients = iter(parameters[2 * channels :])
    return logits, [
        _Channel(
            means=parameters[channel] + spread,
            log_scales=bounded(
                parameters[channels + channel],
                start=_LOG_SCALE_START,
                low=_LOG_SCALE_LOW,
                high=_LOG_SCALE_HIGH,
            ),
            coefficients=[tf.tanh(next(coefficients)) for _ in range(channel)],
        )
        for channel in range(channels)
    ]


def _log_prob_by_pixel(
    outputs: tf.Tensor, x: tf.Tensor, components: int, channels: int
) -> tf.Tensor:
    # log P(x) = log Σₖ wₖ Π_c P(x_c | k, the channels before c), where black is one of the k
    logits, parameters = _parameters(outputs, components, channels)
    levels = tf.round(x * (_LEVELS - 1)) / (_LEVELS - 1)
    # Each of shape [batch, height, width, 1].
    values = tf.split(levels, channels, axis=-1)
    log_masses = tf.zeros_like(logits[..., :-1])
    for number, channel in enumerate(parameters):
        location = channel.location(values[:number])
        log_masses += _log_mass(values[number], location, channel.log_scales)
    is_black = tf.reduce_all(x < _STEP / 2, axis=-1, keepdims=True)
    log_masses = tf.concat([log_masses, tf.where(is_black, 0.0, _LOG_ZERO)], axis=-1)
    return tf.reduce_logsumexp(logits + log_masses, axis=-1) - tf.reduce_logsumexp(logits, axis=-1)


def _compiled(
    function: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """The function of (outputs, x), compiled by XLA, also within a step that it does not compile.

    It then takes half the time. The gradient by the outputs is a compiled function too, which
    computes the function again. Between a compiled function and the gradient that TensorFlow
    derives of it, constants are passed as tensors, and a step that is compiled as a whole fails.
    """
    by_xla = functools.partial(tf.function, jit_compile=True, autograph=False)

    @by_xla
    def gradient(outputs: tf.Tensor, x: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(outputs)
            values = function(outputs, x)
        return tape.gradient(values, outputs, upstream)

    @tf.custom_gradient
    def compiled(outputs: tf.Tensor, x: tf.Tensor):
        values = by_xla(function)(outputs, x)
        return values, lambda upstream: (gradient(outputs, x, upstream), None)

    return compiled


@tf.custom_gradient
def _log_mass(x: tf.Tensor, location: tf.Tensor, log_scale: tf.Tensor):
    """The log-probability of levels under discretized logistics, and its gradients.

    The levels `x` have one value for all components and no gradient. Automatic differentiation
    takes a third longer.
    """
    # With d = (x - m) / s, h = half a step / s and the logistic function σ, the mass is
    #   σ(d + h) - σ(d - h) = (e^h - e^-h) E / ((1 + E e^h) (1 + E e^-h)), where E = e^-|d|;
    #   σ(d + h)     for level 0: 1 / (1 + E e^-h) if d >= 0, otherwise E e^h / (1 + E e^h);
    #   1 - σ(d - h) for level 255: the same with the cases exchanged.
    # The logarithm of E, which may underflow, is taken as -|d|. The lowest scale bounds h by 6. One
    # logarithm and three exponentials serve all cases.
    inverse = tf.exp(-log_scale)
    difference = (x - location) * inverse
    half = (_STEP / 2) * inverse
    # e^h - 1 keeps the digits of a small h in e^h - e^-h = (e^h - 1) (1 + e^-h).
    growth = tf.math.expm1(half)
    up = 1 + growth
    down = 1 / up
    exponential = tf.exp(-tf.abs(difference))
    far, near = 1 / (1 + exponential * down), 1 / (1 + exponential * up)
    is_above = difference >= 0
    is_lowest, is_highest = x < _STEP / 2, x > 1 - _STEP / 2
    is_edge = is_lowest | is_highest
    # Whether the level is an edge and the location is beyond it, so that E is not a factor.
    is_outside = is_edge & tf.equal(is_lowest, is_above)
    inside = near * tf.where(is_edge, up, growth * (1 + down) * far)
    log_mass = tf.math.log(tf.where(is_outside, far, inside)) - tf.where(
        is_outside, 0.0, tf.abs(difference)
    )

    def gradients(upstream: tf.Tensor) -> tuple[None, tf.Tensor, tf.Tensor]:
        # With A = σ(d - h), but 0 for level 0, and B = σ(-d - h), but 0 for level 255:
        # d/dd = B - A, and d/dh = A + B + 2 / (e^2h - 1), without the last term for the edges.
        lower = tf.where(is_lowest, 0.0, tf.where(is_above, near, 1 - far))
        upper = tf.where(is_highest, 0.0, tf.where(is_above, 1 - far, near))
        # e^2h - 1 = (e^h - 1) (e^h + 1)
        between = tf.where(is_edge, 0.0, 2 / (growth * (up + 1)))
        by_location = upstream * (lower - upper) * inverse
        by_log_scale = (x - location) * by_location - half * upstream * (lower + upper + between)
        return None, by_location, by_log_scale

    return log_mass, gradients


def _mean(location: tf.Tensor, log_scale: tf.Tensor) -> tf.Tensor:
    """The means of discretized logistics, as intensities."""
    # E[level] = Σ P(level >= j) over j from 1 to 255; one j at a time needs little memory.
    inverse = tf.exp(-log_scale)

    def add(level: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        edge = (tf.cast(level, tf.float32) - 0.5) * _STEP
        return level + 1, total + tf.sigmoid((location - edge) * inverse)

    _, total = tf.while_loop(
        lambda level, _: level < _LEVELS,
        add,
        (tf.constant(1), tf.zeros_like(location)),
        maximum_iterations=_LEVELS - 1,
    )
    return total * _STEP
