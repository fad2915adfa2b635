"""The parts of a model by name, for code that must not import Keras."""

from components.base.registry import Registry

# The names are saved in `.keras` files and in manifests, so renaming one makes models unreadable.
NETWORKS = Registry(
    mlp="components.model.networks.mlp:MLP",
    conv="components.model.networks.conv:CONV",
    keras_conv="components.model.networks.conv:KERAS_CONV",
    residual="components.model.networks.residual:RESIDUAL",
)

# The minimum number of layer widths. The convolutional architectures need the channels of one
# convolution and the width of the dense layer.
MIN_WIDTHS = {"mlp": 1, "conv": 2, "keras_conv": 2, "residual": 2}

LIKELIHOODS = Registry(
    bernoulli="components.model.likelihoods.bernoulli:BERNOULLI",
    binarized="components.model.likelihoods.bernoulli:BINARIZED",
    logistic_mixture="components.model.likelihoods.logistic_mixture:LOGISTIC_MIXTURE",
    gaussian="components.model.likelihoods.gaussian:GAUSSIAN",
)

HEADS = Registry(
    factorized="components.model.heads.factorized:FactorizedHead",
    causal="components.model.heads.causal:CausalHead",
)

PRIORS = Registry(
    standard_normal="components.model.priors.standard_normal:StandardNormal",
    real_nvp="components.model.priors.flow:RealNVP",
)

ACTIVATIONS = ("relu", "silu")

# The name of the model in the artifact of the train stage.
MODEL_FILE = "model.keras"
