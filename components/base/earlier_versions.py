"""Settings that not all versions of this program have, and values that changed their meaning.

A config without such a setting is equal to one whose setting has the value given here, with which
versions with and without the setting do the same. Results of earlier versions therefore stay
comparable, can be up to date, and can be continued.

A value that changed its meaning is told apart by a setting that came with the change: a config that
lacks it has the earlier meaning, and is equal to none of this version.
"""

from collections.abc import Mapping
from typing import Any

# By stage and setting.
_EARLIER: dict[str, dict[str, Any]] = {
    "train": {
        # The warm-up had all of warmup_steps, also in a short run.
        "warmup_share": 1.0,
        # There was one model besides its network, and one objective.
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

# By stage, setting and value: the setting that came when the value changed its meaning.
_CHANGED: dict[str, dict[tuple[str, Any], str]] = {
    "train": {
        # One scale served the pixels of all images, instead of those of one image.
        ("likelihood", "gaussian"): "linear_path",
        # The prior did not depend on the label.
        ("condition", "label"): "corruption",
    },
}


def with_earlier(stage: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """A config of any version, with the settings that its version does not have.

    A value with another meaning than in this version is marked as one of an earlier version.
    """
    changed = {
        name: f"{value} of an earlier version"
        for (name, value), came in _CHANGED.get(stage, {}).items()
        if config.get(name) == value and came not in config
    }
    return {**_EARLIER.get(stage, {}), **config, **changed}


def without_earlier(stage: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """A config without the settings that do what earlier versions did."""
    earlier = _EARLIER.get(stage, {})
    return {
        name: value
        for name, value in config.items()
        if name not in earlier or value != earlier[name]
    }
