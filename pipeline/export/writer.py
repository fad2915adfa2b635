"""Writes all files of an export, and compares the outputs of each of them with the model's."""

import dataclasses
import tempfile
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from etils import epath

from components.base import console, files
from components.ingest.conversion import BACKGROUNDS
from components.model.vae import VAE
from pipeline.export import portable_file
from pipeline.export.config import (
    KERAS,
    LITERT,
    ONNX,
    SAVED_MODEL,
    ExportConfig,
    decoder_file,
    encoder_file,
)
from pipeline.export.plain_networks import plain_decoder, plain_encoder
from pipeline.export.self_check import Arrays, Function, check, latency, relative_difference
from pipeline.export.served_model import ServedModel

# Images that the files are compared on, and images of the batch for the latency.
_CHECKED, _BATCH = 8, 32

_FILES = {"encode": encoder_file, "decode": decoder_file}


@dataclasses.dataclass(frozen=True)
class ExportedFile:
    """A file of an export, or a function of the SavedModel.

    Attributes:
      name: path of the file, followed by the function in the SavedModel.
      bytes: size of the file, or of all files of the SavedModel.
      difference: largest relative difference from the outputs of the model.
      latencies: median duration of a call in milliseconds, with one image and with a batch.
    """

    name: str
    bytes: int
    difference: float
    latencies: tuple[float, float]


def write(config: ExportConfig, vae: VAE, directory: epath.Path, card: str) -> list[ExportedFile]:
    """Writes the SavedModel, and encoder and decoder in the other formats.

    Args:
      config: the settings.
      vae: the trained model.
      directory: directory to write to.
      card: the model card, which goes into the SavedModel.

    Raises:
      WorkError: a file does not compute what the model does.
    """
    vae = vae.in_float32()
    served = ServedModel(vae, background=BACKGROUNDS[config.background])
    trained = {
        name: _of_tensors(tf.function(signature.call, autograph=False))
        for name, signature in served.signatures.items()
    }
    inputs = _check_inputs(vae, trained["sample"])
    console.say(f"export: writing {SAVED_MODEL}")
    functions = _write_saved_model(served, directory / SAVED_MODEL, card)
    size = sum(files.stat(path).size for path in files.walk_files(directory / SAVED_MODEL))
    exported = [
        _checked(
            f"{SAVED_MODEL} {name}",
            size,
            function,
            trained[name],
            inputs[name],
            reference="the trained model",
        )
        for name, function in functions.items()
    ]
    if KERAS in config.chosen_formats:
        exported += _write_keras(vae, directory, functions["encode"], inputs)
    portable = [name for name in (ONNX, LITERT) if name in config.chosen_formats]
    for kind in portable:
        for name in served.portable_signatures():
            path = directory / _FILES[name](kind)
            console.say(f"export: writing {path.name}")
            function = portable_file.write(kind, path, served, name)
            exported.append(
                _checked(
                    path.name,
                    files.stat(path).size,
                    function,
                    functions[name],
                    inputs[name],
                    reference="the SavedModel",
                )
            )
    if portable and vae.head.is_sequential:
        console.say(
            f"export: no decoder in {' and '.join(portable)}, because the "
            f"{vae.architecture.head} head decodes the pixels of an image in turn; the SavedModel "
            "has it"
        )
    return exported


def table(exported: list[ExportedFile]) -> str:
    """The sizes, differences and latencies of files, for people."""
    header = ("", "size", "difference", "1 image", f"{_BATCH} images")
    rows = [
        (
            each.name,
            f"{each.bytes / 1000:,.0f} kB",
            f"{each.difference:.0e}",
            *(f"{milliseconds:.2f} ms" for milliseconds in each.latencies),
        )
        for each in exported
    ]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = []
    for name, *numbers in (header, *rows):
        cells = (cell.rjust(width) for cell, width in zip(numbers, widths[1:], strict=True))
        lines.append("  ".join([name.ljust(widths[0]), *cells]))
    return "\n".join(lines)


def _check_inputs(vae: VAE, sample: Function) -> dict[str, Arrays]:
    """Inputs for comparisons, by name of a signature: samples of the model itself."""
    classes = vae.architecture.classes
    labels = {"labels": np.arange(_CHECKED, dtype=np.int64) % classes} if classes else {}
    count = {"count": np.array(_CHECKED, np.int32), "seed": np.array(0, np.int32)}
    drawn = sample({**count, **labels})
    images = np.round(255 * drawn["images"]).astype(np.uint8)
    return {
        "encode": {"images": images},
        "encode_bytes": {"image_bytes": np.array([_png(image) for image in images], object)},
        "decode": {"latents": drawn["latents"], **labels},
        "reconstruct": {"images": images, **labels},
        "sample": {**count, **labels},
        "score": {"images": images, **labels},
    }


def _png(image: np.ndarray) -> bytes:
    return tf.io.encode_png(image).numpy()


def _write_saved_model(served: ServedModel, path: epath.Path, card: str) -> dict[str, Function]:
    """Writes the SavedModel; returns its functions, as TensorFlow's own loader gives them."""
    with console.hidden_stderr(), tempfile.TemporaryDirectory() as temporary:
        card_path = epath.Path(temporary) / "model_card.md"
        card_path.write_text(card)
        served.save(path, served.signatures, card=card_path)
        loaded = tf.saved_model.load(str(path))
    return {name: _of_tensors(loaded.signatures[name]) for name in served.signatures}


def _write_keras(
    vae: VAE, directory: epath.Path, encode: Function, inputs: dict[str, Arrays]
) -> list[ExportedFile]:
    """Writes the networks as `.keras` files.

    The decoder gives the likelihood's parameters, which the SavedModel does not show, and is
    compared with the decoder of the trained model.
    """
    encoder_path, decoder_path = (directory / name(KERAS) for name in (encoder_file, decoder_file))
    console.say(f"export: writing {encoder_path.name} and {decoder_path.name}")
    plain_encoder(vae).save(str(encoder_path))
    plain_decoder(vae).save(str(decoder_path))
    encoder, decoder = (keras.saving.load_model(str(path)) for path in (encoder_path, decoder_path))

    def features(arrays: Arrays) -> Arrays:
        z, condition = np.split(arrays["latents"], [vae.latents], axis=-1)
        decoded = vae.latent_model.decode(z, condition if condition.size else None)
        return {"outputs": decoded.numpy()}

    rows = inputs["decode"]["latents"]
    if classes := vae.architecture.classes:
        one_hot = np.eye(classes, dtype=np.float32)[inputs["decode"]["labels"]]
        rows = np.concatenate([rows, one_hot], axis=-1)
    return [
        _checked(
            encoder_path.name,
            files.stat(encoder_path).size,
            lambda arrays: encoder.predict_on_batch(arrays["images"]),
            encode,
            inputs["encode"],
            reference="the SavedModel",
        ),
        _checked(
            decoder_path.name,
            files.stat(decoder_path).size,
            lambda arrays: {"outputs": decoder.predict_on_batch(arrays["latents"])},
            features,
            {"latents": rows},
            reference="the trained model",
        ),
    ]


def _checked(
    name: str, size: int, found: Function, expected: Function, inputs: Arrays, *, reference: str
) -> ExportedFile:
    """Compares a file of `size` bytes with a reference, and measures its latency.

    Raises:
      WorkError: it does not compute the same.
    """
    with console.hidden_stderr():
        one, batch = (_of_batch(inputs, size) for size in (1, _BATCH))
        difference = max(relative_difference(found(each), expected(each)) for each in (inputs, one))
        check(name, difference, reference=reference)
        latencies = latency(lambda: found(one)), latency(lambda: found(batch))
    return ExportedFile(name, size, difference, latencies)


def _of_batch(inputs: Arrays, size: int) -> Arrays:
    """The inputs with another number of images, `_CHECKED` of them distinct."""
    return {
        name: np.resize(value, (size, *value.shape[1:])) if value.ndim else value
        for name, value in inputs.items()
    } | ({"count": np.array(size, np.int32)} if "count" in inputs else {})


def _of_tensors(call: Callable[..., dict[str, tf.Tensor]]) -> Function:
    """A function of named tensors as a function of arrays."""
    return lambda inputs: {
        name: value.numpy()
        for name, value in call(**{key: tf.constant(each) for key, each in inputs.items()}).items()
    }
