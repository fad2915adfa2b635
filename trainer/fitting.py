"""Training on arrays, for programs and notebooks: `from trainer import fit`."""

import contextlib
import dataclasses
import os
import re
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
from etils import epath

from components.api.trained_vae import TrainedVAE
from components.api.user_images import as_array, numbers, to_pixels
from components.base import console, file_errors
from components.base.config import from_mapping, pop_fields
from components.base.errors import ConfigError, Stopped, UserError
from components.base.manifest import Input
from components.base.shapes import format_shape
from components.data import array_dataset
from components.data.examples import CHANNELS
from trainer import stage
from trainer.build import HELDOUT_SPLIT, TRAIN_SPLIT
from trainer.config import RunOptions, TrainConfig, load_config, preset_names
from trainer.devices.hosts import host
from trainer.recording.epoch_metrics import EPOCH_METRICS_FILE, EpochMetrics, read_metrics

_WHERE = "the arguments of fit"
# The largest label that prepare accepts, too.
_MAX_LABEL = 65_535
# The split of each argument.
_SPLITS = {"images": TRAIN_SPLIT, "validation": HELDOUT_SPLIT}


@dataclasses.dataclass(frozen=True)
class FittedModel:
    """A trained model.

    Attributes:
      model: the model, `components.model.VAE`.
      history: the metrics of each epoch.
    """

    model: TrainedVAE
    history: list[EpochMetrics]


def fit(
    images: Any,
    preset: str = "mlp",
    *,
    labels: Any = None,
    validation: Any = None,
    directory: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    extend: bool = False,
    **overrides: Any,
) -> FittedModel:
    """Trains a VAE on images in memory, as `python -m trainer` does on a prepared dataset.

    The images are written as a prepared dataset to the directory of temporary files, where they
    take about as much space as in memory, and are removed from there at the end.

    Args:
      images: the training images: uint8 from 0 to 255, or floats from 0 to 1, which are rounded to
        the nearest of the 256 levels of a byte; shape [N, height, width, channels] with 1 or 3
        channels, or [N, height, width].
      preset: name of the configuration to start from.
      labels: of the images, integers of shape [N], for a model with condition="label".
      validation: images to evaluate the model on after each epoch, of the same form, or a pair of
        such images and their labels. Without them, nothing is held out, and the last model is kept.
      directory: directory to publish the model in, with its checkpoints and metrics. If the call is
        interrupted, the same call continues from the last checkpoint; if the model is complete, the
        same call loads it. None keeps no files.
      overwrite: replace another model in `directory`.
      extend: continue the finished model in `directory`, which has fewer epochs.
      **overrides: settings that override the preset's, such as `latents=8` or `epochs=5`: the
        options of `python -m trainer`.

    Returns:
      The model that is kept, and the metrics of all epochs.

    Raises:
      ConfigError: an argument is wrong, or `directory` holds another model.
      WorkError: the training failed: the loss became NaN or infinite, or a file could not be
        written.
      Stopped: Ctrl-C or SIGTERM; with a directory, the same call continues.
    """
    with _in_terms_of_arguments():
        return _fit(images, preset, labels, validation, directory, overwrite, extend, overrides)


def _fit(
    images: Any,
    preset: str,
    labels: Any,
    validation: Any,
    directory: str | os.PathLike[str] | None,
    overwrite: bool,
    extend: bool,
    overrides: dict[str, Any],
) -> FittedModel:
    """Does the work of `fit`; its errors may name options of the command line."""
    if not isinstance(preset, str):
        raise ConfigError(
            f"preset must be one of {', '.join(preset_names())}; labels are passed as labels=…. "
            f"Received: {type(preset).__name__}"
        )
    options = from_mapping(RunOptions, pop_fields(overrides, RunOptions), where=_WHERE)
    config = load_config(preset, overrides=overrides, where=_WHERE)
    if host().count > 1:
        raise ConfigError(
            "fit trains on one host, but TF_CONFIG lists several; prepare the images, and run "
            "`python -m trainer` on each host"
        )
    splits = _splits(config, images, labels, validation)
    num_classes = 1 + max(int(each.max()) for _, each in splits.values())
    with contextlib.ExitStack() as stack:
        stack.enter_context(file_errors.as_work_errors())
        scratch = epath.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vae-")))
        examples = array_dataset.write(scratch / "examples", splits, num_classes=num_classes)
        del splits
        if directory is None:
            stack.enter_context(_nothing_kept())
        output = scratch / "model" if directory is None else epath.Path(directory)
        stage.run_on(
            examples,
            preset,
            config,
            # Its path is temporary.
            source=Input(None, examples.artifact.fingerprint),
            output=output,
            options=options,
            overwrite=overwrite,
            extend=extend,
        )
        return FittedModel(TrainedVAE.load(output), read_metrics(output / EPOCH_METRICS_FILE))


def _splits(
    config: TrainConfig, images: Any, labels: Any, validation: Any
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The images and labels of each split: uint8 [N, height, width, channels], and int64 [N].

    Raises:
      ConfigError: `fit` does not take them.
    """
    given = {"images": (images, labels)}
    if validation is not None:
        given["validation"] = validation if isinstance(validation, tuple) else (validation, None)
    splits = {}
    for name, pair in given.items():
        if len(pair) != 2:
            raise ConfigError(
                "validation must be images, or a pair of images and labels. "
                f"Received: {console.counted(len(pair), 'value')}"
            )
        pixels = _pixels(name, pair[0])
        splits[_SPLITS[name]] = pixels, _labels(config, name, pair[1], len(pixels))
    shapes = [pixels.shape[1:] for pixels, _ in splits.values()]
    if shapes[0] != shapes[-1]:
        raise ConfigError(
            f"the training images are {format_shape(shapes[0])}, but those for validation are "
            f"{format_shape(shapes[-1])} (height x width x channels); they must be of one shape"
        )
    return splits


def _pixels(name: str, images: Any) -> np.ndarray:
    """Images of a user as uint8 [N, height, width, channels]; `name` is that of the argument."""
    array = as_array(images)
    if array.ndim == 3:
        array = array[..., np.newaxis]
    if array.ndim != 4 or array.shape[-1] not in CHANNELS or not array.size:
        raise ConfigError(
            f"{name} must have shape [N, height, width, channels] with 1 or 3 channels, or "
            f"[N, height, width], and hold an image. Received: shape={list(np.shape(images))}"
        )
    return to_pixels(array)


def _labels(config: TrainConfig, name: str, labels: Any, count: int) -> np.ndarray:
    """The labels of `count` images, int64 [count]; all 0 if there are none and none are needed."""
    if labels is None:
        if config.condition != "none":
            raise ConfigError(
                f"a model with condition {config.condition!r} needs the labels of {name}: pass "
                "labels=…, and validation=(images, labels)"
            )
        return np.zeros(count, np.int64)
    array = numbers(f"the labels of {name}", labels)
    is_integer = np.issubdtype(array.dtype, np.integer)
    if array.shape != (count,) or not is_integer or array.min() < 0 or array.max() > _MAX_LABEL:
        raise ConfigError(
            f"the labels of {name} must be {console.counted(count, 'integer')} from 0 to "
            f"{_MAX_LABEL:,}, one for each image. "
            f"Received: dtype={array.dtype}, shape={list(array.shape)}"
        )
    return array.astype(np.int64)


@contextlib.contextmanager
def _in_terms_of_arguments() -> Iterator[None]:
    """Makes errors name arguments of `fit` where they name options of the command line."""
    try:
        yield
    except UserError as error:
        raise type(error)(_in_python(str(error))) from None


def _in_python(text: str) -> str:
    """A message with arguments of `fit` in place of options, such as `overwrite=True`."""
    text = text.replace("run the same command again", "make the same call again")
    advice = re.compile(r"python -m trainer \.\.\. --epochs (\d+) --extend")
    text = advice.sub(r"fit(…, epochs=\1, extend=True)", text)
    text = re.sub(r"--(overwrite|extend)\b", r"\1=True", text)
    fields = {*TrainConfig.__dataclass_fields__, *RunOptions.__dataclass_fields__}
    return re.sub(
        r"--([a-z_]+)", lambda option: option[1] if option[1] in fields else option[0], text
    )


@contextlib.contextmanager
def _nothing_kept() -> Iterator[None]:
    """When a run without a directory is stopped, says that it cannot be continued."""
    try:
        yield
    except Stopped:
        raise Stopped("stopped; nothing is kept of a run without a directory") from None
