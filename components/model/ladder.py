"""A hierarchy of latents, from the top down (ladder VAE; Sønderby et al., 2016).

The top level has the lowest resolution. Each level below sees the latents above it, in its prior
p(z_l | z_<l) as in its posterior q(z_l | x, z_<l), and its latents are a map: a vector at each
position of its grid. The posterior is given relative to the prior (Vahdat and Kautz, 2020), so that
a level without information costs no rate.
"""

import keras
import tensorflow as tf

from components.model.distributions import Normal, standard_normal_like
from components.model.inference import PosteriorDraws, bounded_normal
from components.model.networks.network import NetworkSettings, grid
from components.model.networks.residual import (
    convolution,
    downward_features,
    residual_block,
    to_features,
    upsampled,
)


def ladder_encoder(settings: NetworkSettings) -> keras.Model:
    """Maps images to feature maps at every resolution, the highest first."""
    inputs = keras.Input(settings.image_shape)
    return keras.Model(inputs, downward_features(inputs, settings), name="encoder")


class LadderDecoder(keras.layers.Layer):
    """The layers of all levels, followed by those from the last level to the decoder's features.

    Args:
      settings: its latents are the channels of each level's map.
      levels: number of levels. The first is at the lowest resolution, each further one at the next
        higher, and all that are left at the highest, which is half the image's.
    """

    def __init__(self, settings: NetworkSettings, *, levels: int):
        super().__init__(dtype="float32", autocast=False, name="decoder")
        channels = settings.widths[:-1]
        resolutions = [max(len(channels) - 1 - level, 0) for level in range(levels)]
        self.levels = [
            _Level(settings, resolution=resolution, above=above)
            for resolution, above in zip(resolutions, [None, *resolutions], strict=False)
        ]
        (rows, columns), _ = grid(settings.image_shape, len(channels))
        self._start_shape = (1, rows, columns, channels[-1])
        # A vector: an optimizer takes a weight of rank 2 or more for a kernel.
        self._start = self.add_weight(
            shape=(rows * columns * channels[-1],), initializer="zeros", name="start"
        )
        last = keras.Input(self.levels[-1].output_shape)
        hidden = last
        for number in reversed(channels[: resolutions[-1]]):
            hidden = upsampled(residual_block(hidden, settings), number, settings)
        hidden = residual_block(hidden, settings)
        self.features = keras.Model(last, to_features(hidden, settings), name="features")
        self.built = True

    def start(self, draws: tf.Tensor) -> tf.Tensor:
        """The learned map above the top level, [draws, rows, columns, channels]."""
        start = tf.reshape(tf.convert_to_tensor(self._start), self._start_shape)
        return tf.tile(start, [draws, 1, 1, 1])


class _Level(keras.layers.Layer):
    """The layers of one level.

    Args:
      settings: of the network.
      resolution: index of the level's resolution, 0 for half the image's.
      above: that of the level above; None for the top level.
    """

    def __init__(self, settings: NetworkSettings, *, resolution: int, above: int | None):
        super().__init__(dtype="float32", autocast=False)
        channels = settings.widths[:-1]
        dtype, number = settings.dtype, channels[resolution]
        self.resolution = resolution
        full, _ = grid(settings.image_shape, len(channels))
        factor = 2 ** (len(channels) - 1 - resolution)
        self.rows, self.columns = full[0] * factor, full[1] * factor
        self.output_shape = (self.rows, self.columns, number)
        self.latent_shape = (self.rows, self.columns, settings.latents)
        self.size = self.rows * self.columns * settings.latents
        # Levels at the same resolution follow one another directly; otherwise it doubles.
        if above is None or above == resolution:
            inputs = keras.Input(self.output_shape)
            hidden = residual_block(inputs, settings)
        else:
            inputs = keras.Input((self.rows // 2, self.columns // 2, channels[above]))
            hidden = upsampled(residual_block(inputs, settings), number, settings)
        self.block = keras.Model(inputs, hidden)
        features, images = keras.Input(self.output_shape), keras.Input(self.output_shape)
        # The prior of the top level is N(0, I). Those below start as such, and every posterior
        # starts as the prior: the layers that compute them start at zero.
        self.prior = None
        if above is not None:
            self.prior = keras.Model(features, _parameters(features, settings))
        both = keras.layers.Concatenate(dtype=dtype)([features, images])
        self.posterior = keras.Model(
            [features, images], _parameters(convolution(number, 3, dtype)(both), settings)
        )
        self.merge = keras.layers.Conv2D(number, 1, kernel_initializer="lecun_normal", dtype=dtype)
        self.merge.build((None, *self.latent_shape))
        self.built = True


def _parameters(inputs: keras.KerasTensor, settings: NetworkSettings) -> keras.KerasTensor:
    """Means and log-variances at each position, zero at first."""
    hidden = keras.layers.Activation(settings.activation, dtype=settings.dtype)(inputs)
    return keras.layers.Conv2D(
        2 * settings.latents, 1, kernel_initializer="zeros", dtype="float32"
    )(hidden)


class Ladder:
    """Several levels of latents: a `LatentModel`.

    Its vectors of latents hold those of the top level first.

    Args:
      encoder: maps images to feature maps.
      decoder: the layers of all levels.
    """

    has_closed_form_rates = True
    has_fixed_rates = False

    def __init__(self, encoder: keras.Model, decoder: LadderDecoder):
        self._encoder = encoder
        self._decoder = decoder
        self._sizes = [level.size for level in decoder.levels]
        self.latents = sum(self._sizes)

    def posterior(self, x: tf.Tensor) -> Normal:
        """The posterior of each level given the means of the levels above."""
        posteriors: list[Normal] = []

        # A posterior depends on the latents of the levels above; their means stand in for draws.
        def mean(level: int, prior: Normal, posterior: Normal) -> tf.Tensor:
            del level, prior
            posteriors.append(posterior)
            return posterior.mode()

        self._descend(self._encode(x, samples=1), tf.shape(x)[0], mean)
        return Normal(
            tf.concat([each.mean for each in posteriors], axis=-1),
            tf.concat([each.log_variance for each in posteriors], axis=-1),
        )

    def infer(
        self,
        x: tf.Tensor,
        noise: tf.Tensor,
        *,
        condition: tf.Tensor | None = None,
        samples: int = 1,
        stop_posterior: bool = False,
    ) -> PosteriorDraws:
        del condition  # Always None: a VAE with levels has no classes.
        # Constant parameters would also lose the gradient of log q(z_l | x, z_<l) through z_<l.
        if stop_posterior:
            raise ValueError("the posterior of a hierarchy cannot be held constant")
        noises = tf.split(noise, self._sizes, axis=-1)
        draws: list[tuple[tf.Tensor, Normal, Normal]] = []

        def draw(level: int, prior: Normal, posterior: Normal) -> tf.Tensor:
            z = posterior.sample(noises[level])
            draws.append((z, prior, posterior))
            return z

        maps = self._encode(x, samples=samples)
        features = self._descend(maps, tf.shape(noise)[0], draw)
        return PosteriorDraws(
            z=tf.concat([z for z, _, _ in draws], axis=-1),
            features=features,
            log_posterior=tf.stack([q.log_prob(z) for z, _, q in draws], axis=-1),
            log_prior=tf.stack([p.log_prob(z) for z, p, _ in draws], axis=-1),
            closed_form_rates=tf.concat([q.kl_by_dimension(p) for _, p, q in draws], axis=-1),
        )

    def decode(self, z: tf.Tensor, condition: tf.Tensor | None = None) -> tf.Tensor:
        del condition
        parts = tf.split(z, self._sizes, axis=-1)
        return self._descend(None, tf.shape(z)[0], lambda level, prior, posterior: parts[level])

    def sample_prior(self, noise: tf.Tensor, condition: tf.Tensor | None = None) -> tf.Tensor:
        del condition
        noises = tf.split(noise, self._sizes, axis=-1)
        drawn: list[tf.Tensor] = []

        def draw(level: int, prior: Normal, posterior: Normal) -> tf.Tensor:
            del posterior
            drawn.append(prior.sample(noises[level]))
            return drawn[-1]

        self._descend(None, tf.shape(noise)[0], draw)
        return tf.concat(drawn, axis=-1)

    def descend(self, x: tf.Tensor | None, draws: int, choose) -> tf.Tensor:
        """The decoder's features at latents that are chosen level by level, from the top down.

        Args:
          x: images, shape [draws, height, width, channels]; None for none, and then the posterior
            is the prior.
          draws: number of rows.
          choose: gives the latents [draws, size] of a level, by its index, prior and posterior.
        """
        maps = None if x is None else self._encode(x, samples=1)
        return self._descend(maps, tf.constant(draws), choose)

    def _encode(self, x: tf.Tensor, *, samples: int) -> list[tf.Tensor]:
        # The scopes tell `costs` which part of the model an operation belongs to.
        with tf.name_scope("encoder"):
            maps = self._encoder(x)
        maps = maps if isinstance(maps, list) else [maps]
        return [tf.repeat(each, samples, axis=0) for each in maps] if samples > 1 else maps

    def _descend(self, maps: list[tf.Tensor] | None, draws: tf.Tensor, choose) -> tf.Tensor:
        """Goes through the levels, and returns the decoder's features.

        Args:
          maps: of the encoder; None without images, and then the posterior is the prior.
          draws: number of rows.
          choose: gives the latents [draws, size] of a level, by its index, prior and posterior.
        """
        with tf.name_scope("decoder"):
            hidden = self._decoder.start(draws)
            for index, level in enumerate(self._decoder.levels):
                hidden = level.block(hidden)
                if level.prior is None:
                    prior = standard_normal_like(tf.zeros([draws, level.size]))
                else:
                    prior = _flat(level.prior(hidden), level.size)
                posterior = prior
                if maps is not None:
                    # Relative to the prior: a change of 0 gives a rate of 0.
                    change = _flat(level.posterior([hidden, maps[level.resolution]]), level.size)
                    posterior = Normal(
                        prior.mean + change.mean, prior.log_variance + change.log_variance
                    )
                z = tf.reshape(choose(index, prior, posterior), [-1, *level.latent_shape])
                hidden = hidden + level.merge(tf.cast(z, hidden.dtype))
            return self._decoder.features(hidden)


def _flat(parameters: tf.Tensor, size: int) -> Normal:
    """The normal distribution of maps of means and log-variances, as vectors [draws, size]."""
    normal = bounded_normal(parameters)
    return Normal(tf.reshape(normal.mean, [-1, size]), tf.reshape(normal.log_variance, [-1, size]))
