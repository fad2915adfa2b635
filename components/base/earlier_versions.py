"""Settings that some versions of this program lack, and values whose meaning has changed.

For each such setting, this module has the value with which a version that knows the setting behaves
like one that does not. A config without the setting equals a config with this value. So results of
earlier versions stay comparable, can be up to date, and can be continued.

A setting that was added together with the change tells the two meanings of a value apart: a config
that lacks it has the earlier meaning, and equals no config of this version.
"""

from collections.abc import Mapping
from typing import Any

# By stage and setting.
_EARLIER: dict[str, dict[str, Any]] = {
    "train": {
        # The warm-up took all of warmup_steps, even in a short run.
        "warmup_share": 1.0,
        # Only the network could be chosen; everything else was fixed.
        "activation": "relu",
        "encoder_blocks": 0,
        "decoder_blocks": 1,
        "feature_channels": 32,
        "likelihood": "bernoulli",
        "head": "factorized",
        "head_layers": 1,
        "prior": "standard_normal",
        "levels": 1,
        "linear_path": "none",
        "condition": "none",
        "objective": "elbo",
        "objective_samples": 1,
        "beta_warmup_steps": 0,
        "beta_warmup_share": 0.5,
        # The encoder saw the images of the dataset, which were clean.
        "corruption": "none",
        "noise_model": "none",
        # Only earlier versions: no prior of this version has components.
        "prior_components": 100,
    },
    "evaluate": {
        # Log-likelihoods were not estimated.
        "importance_samples": 0,
        "limit_examples": 0,
        "figure_format": ("png",),
        "titles": True,
        "metrics": (
            "elbo",
            "rate",
            "distortion",
            "nll",
            "bits_per_dim",
            "psnr",
            "knn_accuracy",
        ),
    },
}

# By stage, setting and value: the setting that was added when the value changed its meaning.
_CHANGED: dict[str, dict[tuple[str, Any], str]] = {
    "train": {
        # One scale for the pixels of all images, not one for each image.
        ("likelihood", "gaussian"): "linear_path",
        # The prior did not depend on the label.
        ("condition", "label"): "corruption",
    },
}


def with_earlier(stage: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """A config of any version, completed by the settings that its version lacks.

    A value whose meaning has changed is marked as that of an earlier version.
    """
    changed = {
        name: f"{value} of an earlier version"
        for (name, value), came in _CHANGED.get(stage, {}).items()
        if config.get(name) == value and came not in config
    }
    return {**_EARLIER.get(stage, {}), **config, **changed}


def without_earlier(stage: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """A config without the settings whose values reproduce earlier versions."""
    earlier = _EARLIER.get(stage, {})
    return {
        name: value
        for name, value in config.items()
        if name not in earlier or value != earlier[name]
    }
