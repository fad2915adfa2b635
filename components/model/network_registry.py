"""The network architectures by name, for code that must not import Keras."""

from components.base.registry import Registry

# The names are saved in `.keras` files and in manifests, so renaming one makes models unreadable.
NETWORKS = Registry(
    mlp="components.model.networks:MLP",
    conv="components.model.networks:CONV",
    keras_conv="components.model.networks:KERAS_CONV",
)

# The name of the model in the artifact of the train stage.
MODEL_FILE = "model.keras"

# The minimum number of layer widths. The convolutional architectures need the channels of one
# convolution and the width of the dense layer.
MIN_WIDTHS = {"mlp": 1, "conv": 2, "keras_conv": 2}
