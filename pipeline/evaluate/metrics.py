"""All metrics of an evaluation: their names, titles and units."""

import dataclasses

NATS, BITS, DECIBELS = "nats per example", "bits per dimension", "dB"
SIMILARITY = "from -1 to 1"
LABELS, DIMENSIONS = "fraction of labels", "latent dimensions"
ENTROPY = "fraction of the entropy of labels"
SQUARED_FEATURES, KERNELS = "squared units of the features", "units of the kernel"
SAMPLES, EXAMPLES = "fraction of samples", "fraction of examples"


@dataclasses.dataclass(frozen=True)
class Metric:
    """The title and the unit of a metric.

    Attributes:
      title: the name in text.
      unit: the unit in text.
      digits: number of decimals shown.
    """

    title: str
    unit: str
    digits: int = 2

    @property
    def is_proportion(self) -> bool:
        """Whether it is a fraction of examples or samples."""
        return self.unit in (LABELS, SAMPLES, EXAMPLES)


# All metrics, in the order in which they are shown. An evaluation has some of them.
METRICS = {
    "elbo": Metric("ELBO", NATS),
    "rate": Metric("rate", NATS),
    "distortion": Metric("distortion", NATS),
    "nll": Metric("negative log-likelihood", NATS),
    "bits_per_dim": Metric("bits per dimension", BITS, digits=3),
    "psnr": Metric("PSNR of reconstructions", DECIBELS),
    "denoised_psnr": Metric("PSNR of denoised images", DECIBELS),
    "denoised_ssim": Metric("SSIM of denoised images", SIMILARITY, digits=4),
    "knn_accuracy": Metric("accuracy of the nearest neighbors", LABELS, digits=4),
    "linear_probe_accuracy": Metric("accuracy of a linear probe", LABELS, digits=4),
    "active_units": Metric("active units", DIMENSIONS, digits=0),
    "mutual_information": Metric("mutual information of image and latents", NATS),
    "marginal_kl": Metric("divergence of the aggregate posterior from the prior", NATS),
    "mig": Metric("mutual information gap", ENTROPY, digits=3),
    "fid": Metric("Fréchet distance of samples (FID)", SQUARED_FEATURES),
    "fid_floor": Metric("FID of training images", SQUARED_FEATURES),
    "fid_aggregate": Metric("FID of samples from the aggregate posterior", SQUARED_FEATURES),
    "kid": Metric("kernel distance of samples (KID)", KERNELS, digits=4),
    "kid_aggregate": Metric("KID of samples from the aggregate posterior", KERNELS, digits=4),
    "kid_floor": Metric("KID of training images", KERNELS, digits=4),
    "precision": Metric("precision of samples", SAMPLES, digits=4),
    "recall": Metric("recall of samples", EXAMPLES, digits=4),
}

# Always measured, since figures and summaries show them.
ALWAYS = ("elbo", "rate", "distortion")
