"""How the VAE learns: the training loop, devices, optimizers, schedules and checkpoints.

`from trainer import fit` gives the function for programs and notebooks, which trains on arrays.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    # On first use, because it imports TensorFlow, which takes seconds.
    if name == "fit":
        from components.base import tensorflow_setup

        tensorflow_setup.load()
        from trainer.fitting import fit

        return fit
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
