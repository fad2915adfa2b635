"""The images that a model is applied to: shards that prepare wrote, or any source of prepare.

Prepare itself converts a source, in the draft directory of the stage, to shards of the size and the
channels that the model needs. They are removed at the end of the stage.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from etils import epath

from components.base import artifacts, console, drafts, files
from components.base.errors import ConfigError, WorkError
from components.base.manifest import Artifact, Input, fingerprint, published_config
from components.base.shapes import Shape, format_shape
from components.data import tfds_metadata
from components.data.prepared_dataset import PreparedDataset
from components.model import model_file
from components.model.registry import MODEL_FILE
from components.sources import registry
from pipeline.apply import shard_files
from pipeline.apply.shard_task import ShardTask
from pipeline.prepare.config import PrepareConfig
from pipeline.prepare.quarantine import QUARANTINE
from pipeline.prepare.stage import prepare

# The shards of a source, in the draft directory.
_CONVERTED = "converted"


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """The images of one or several shards.

    Attributes:
      tasks: the shards.
      class_names: names of the labels, by label; None if they are not known.
      inputs: number of inputs, of which `quarantined` have no example; None if that is not known.
      kept: number of the examples that the ledger of all inputs counts; None if that is not known.
    """

    tasks: list[ShardTask]
    class_names: list[str] | None
    inputs: int | None = None
    quarantined: int = 0
    kept: int | None = None

    def ledger(self, rows: int) -> dict[str, int]:
        """The numbers of inputs and of those without an example, for a manifest, if they are known.

        Args:
          rows: number of examples that the model was applied to.

        Raises:
          WorkError: the ledger of the input counts another number of examples.
        """
        if self.kept is not None and self.kept != rows:
            raise WorkError(
                f"there are {rows:,} rows, but the ledger of the input counts {self.kept:,} "
                "examples; nothing was published; please report this bug"
            )
        if self.inputs is None:
            return {}
        return {"inputs": self.inputs, "quarantined": self.quarantined}

    def warn_of_quarantine(self, output: epath.PathLike, *, lacking: str) -> None:
        """Says how many inputs are in quarantine, if there are any.

        Args:
          output: the published directory.
          lacking: what inputs in quarantine lack there, such as `embedding`.
        """
        if self.quarantined:
            console.warn(
                f"{console.counted(self.quarantined, 'input')} in quarantine, which have no "
                f"{lacking}; {epath.Path(output, QUARANTINE)} has the reasons"
            )


class ImageInput(Protocol):
    """The input that `--input` names.

    Attributes:
      config: what identifies it in a manifest, as JSON values.
      inputs: the inputs by name, for a manifest.
    """

    config: dict[str, Any]
    inputs: dict[str, Input]

    def open(self, directory: epath.Path, beam_args: Sequence[str]) -> ImageSet:
        """The shards, whose outputs are files in `directory`, a draft."""

    def finish(self, directory: epath.Path) -> None:
        """Removes the files from `directory` that are not part of the result."""


def find(
    pattern: str,
    model: Artifact,
    *,
    source_options: Mapping[str, Any],
    stage: str = "embed",
    scales: bool = True,
) -> ImageInput:
    """Finds the input that `--input` names.

    Args:
      pattern: the directory of a prepared dataset; a path of shards, with the wildcards * and ?;
        or what the option --dataset of prepare takes.
      model: the artifact of the train stage.
      source_options: fields of `PrepareConfig` that say how to read a source.
      stage: name of the calling stage, for messages.
      scales: whether the images of a source are converted to the size and the channels that the
        model needs. Otherwise images that differ go to the quarantine.

    Raises:
      ConfigError: there is no such input; its images have another shape than those of the model; or
      there are options of a source, and the input is shards.
      WorkError: a file is missing or damaged.
    """
    shape = model_file.image_shape(model.verified(MODEL_FILE))
    shards = [] if source_options.get("features") else shard_files.find(pattern)
    if not shards:
        return ConvertedSource(pattern, shape, source_options, stage=stage, scales=scales)
    if source_options:
        name = next(iter(source_options))
        raise ConfigError(
            f"--{name} is for sources that prepare reads, but {pattern} names shards that it "
            "wrote; leave the option out"
        )
    return PreparedShards(shards, model, shape)


class PreparedShards:
    """Shards that prepare wrote.

    Args:
      paths: the TFRecord files, sorted.
      model: the artifact of the train stage.
      image_shape: (height, width, channels) of the images of the model.

    Raises:
      ConfigError: the images of a prepared dataset have another shape.
      WorkError: a file is missing or damaged, or holds no examples.
    """

    def __init__(self, paths: Sequence[epath.Path], model: Artifact, image_shape: Shape):
        self._datasets = {
            directory: _open_directory(directory, model, image_shape)
            for directory in {path.parent for path in paths}
        }
        known = {
            task.shard: task
            for dataset in self._datasets.values()
            if dataset is not None
            for task in dataset_tasks(dataset, epath.Path())
        }
        # The outputs are names; `open` makes them paths in a directory.
        self._shards = [known.get(str(path)) or _lone_task(path, image_shape) for path in paths]
        digests = {path.name: task.sha256 for path, task in zip(paths, self._shards, strict=True)}
        self.config = {"files": [path.name for path in paths]}
        self.inputs = {"shards": Input(paths[0].parent, fingerprint(digests))}

    def open(self, directory: epath.Path, beam_args: Sequence[str]) -> ImageSet:
        """See `ImageInput.open`."""
        tasks = [
            dataclasses.replace(task, output=str(directory / task.output)) for task in self._shards
        ]
        datasets = [dataset for dataset in self._datasets.values() if dataset is not None]
        if len(datasets) != 1 or len(self._datasets) != 1:
            return ImageSet(tasks, None)
        (dataset,) = datasets
        is_whole = len(tasks) == sum(map(len, dataset.shards.values()))
        return ImageSet(tasks, dataset.class_names, kept=dataset.counts.kept if is_whole else None)

    def finish(self, directory: epath.Path) -> None:
        """See `ImageInput.finish`."""


class ConvertedSource:
    """A source that prepare reads.

    Args:
      name: what the option --dataset of prepare takes.
      image_shape: (height, width, channels) to convert the images to.
      options: fields of `PrepareConfig` that say how to read the source.
      stage: name of the calling stage, for messages.
      scales: see `find`.

    Raises:
      ConfigError, WorkError: see `components.sources.registry.open_source`.
    """

    def __init__(
        self,
        name: str,
        image_shape: Shape,
        options: Mapping[str, Any],
        *,
        stage: str = "embed",
        scales: bool = True,
    ):
        height, width, channels = image_shape
        conversion: dict[str, Any] = {}
        if scales:
            conversion = {"image_size": f"{height}x{width}", "channels": channels}
        self._config = PrepareConfig(dataset=name, validation_fraction=0.0, **conversion, **options)
        self._shape = image_shape
        self._stage = stage
        self._scales = scales
        source, notes = registry.open_source(self._config.request(name))
        for note in notes:
            console.warn(note)
        self.config = {
            "dataset": source.name,
            **source.settings,
            "shard_bytes": self._config.shard_bytes,
        }
        self.inputs = {"source": source.input}

    def open(self, directory: epath.Path, beam_args: Sequence[str]) -> ImageSet:
        """See `ImageInput.open`."""
        if self._scales:
            console.say(
                f"{self._stage}: converting {self._config.dataset} to {format_shape(self._shape)} "
                "images (height x width x channels), as the model needs them"
            )
        dataset = prepare(
            self._config, output=directory / _CONVERTED, for_model=True, beam_args=beam_args
        )
        expected = self.inputs["source"].fingerprint
        if dataset.artifact.manifest.inputs["source"].fingerprint != expected:
            raise WorkError(
                f"{self._config.dataset} changed while it was read; run the same command again "
                "with --overwrite"
            )
        if dataset.image_shape != self._shape:
            # Nothing is left to resume: the user corrects the folder and runs the same command.
            self.finish(directory)
            raise ConfigError(
                f"most images of {self._config.dataset} are {format_shape(dataset.image_shape)} "
                f"(height x width x channels), but the model was trained on "
                f"{format_shape(self._shape)}, and {self._stage} does not scale images; pass "
                "images of that shape"
            )
        target = directory / QUARANTINE
        target.parent.mkdir(exist_ok=True)
        with artifacts.atomic_write(target) as temporary:
            temporary.write_bytes(dataset.artifact.verified(QUARANTINE).read_bytes())
        counts = dataset.counts
        return ImageSet(
            dataset_tasks(dataset, directory),
            dataset.class_names,
            inputs=counts.inputs,
            quarantined=counts.quarantined,
            kept=counts.kept,
        )

    def finish(self, directory: epath.Path) -> None:
        """See `ImageInput.finish`."""
        (directory / _CONVERTED).rmtree()


def dataset_tasks(dataset: PreparedDataset, directory: epath.Path) -> list[ShardTask]:
    """The shards of a prepared dataset, whose outputs are files in `directory`."""
    tasks = []
    for split in dataset.splits:
        first = 0
        for shard in dataset.shards[split]:
            tasks.append(
                ShardTask(
                    shard=str(dataset.path / shard.file),
                    sha256=dataset.artifact.output(shard.file).sha256,
                    examples=shard.examples,
                    image_shape=dataset.image_shape,
                    output=str(directory / output_stem(shard.file)),
                    split=split,
                    first=first,
                    class_names=tuple(dataset.class_names),
                )
            )
            first += shard.examples
    return tasks


def output_stem(shard: str) -> str:
    """The beginning of the names of the outputs: `x-test.tfrecord-0-of-1` -> `x-test-0-of-1`."""
    return shard.replace(shard_files.TFRECORD, "")


def check_image_shape(model: Artifact, shape: Shape, *, where: epath.Path) -> None:
    """Checks that a model was trained on images of a shape.

    Args:
      model: the artifact of the train stage.
      shape: (height, width, channels) of the images.
      where: directory of the images.

    Raises:
      ConfigError: it was trained on another shape; the message names both.
    """
    expected = model_file.image_shape(model.verified(MODEL_FILE))
    if shape != expected:
        raise ConfigError(
            f"{model.path} was trained on {format_shape(expected)} images, but those in {where} "
            f"are {format_shape(shape)} (height x width x channels); choose a model that was "
            "trained on that shape, or prepare the images with --image_size and --channels"
        )


def _open_directory(
    directory: epath.Path, model: Artifact, image_shape: Shape
) -> PreparedDataset | None:
    """Checks that the shards in a directory are complete, and that a model can read them.

    Returns:
      The prepared dataset; None if the directory has no manifest, as a copy of some shards.

    Raises:
      ConfigError: the model was trained on images of another shape, or the directory is not
        finished.
      WorkError: a file of a prepared dataset is missing or truncated.
    """
    drafts.check_finished(directory)
    if published_config(directory):
        dataset = PreparedDataset.open(directory)
        check_image_shape(model, dataset.image_shape, where=directory)
        return dataset
    shape = tfds_metadata.read_image_shape(directory)
    if shape is None:
        console.warn(
            f"{directory} has neither a manifest nor a features.json, so the images are taken to "
            f"be {format_shape(image_shape)}, as those of the model"
        )
    else:
        check_image_shape(model, shape, where=directory)
    return None


def _lone_task(path: epath.Path, image_shape: Shape) -> ShardTask:
    """A shard without a manifest."""
    count = shard_files.count_records(path, image_shape)
    return ShardTask(str(path), files.sha256(path), count, image_shape, output_stem(path.name))
