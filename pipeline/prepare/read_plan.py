"""What a call of prepare reads: all of a source, or again what was set aside of it."""

import dataclasses
import re
from collections.abc import Collection, Iterator, Sequence

from components.base.artifacts import ArtifactPlan
from components.base.errors import ConfigError
from components.data.prepared_dataset import PreparedDataset
from components.sources.escaping import printable
from components.sources.prepared import PreparedSource
from components.sources.source import Slice, Source
from pipeline.prepare.messages import ReadTask
from pipeline.prepare.workers import read_lines

QUARANTINE = "quarantine/quarantine.jsonl"
_INDEXED = re.compile(r"([a-z]+)-(\d{8,})")


@dataclasses.dataclass(frozen=True)
class ReadPlan:
    """Slices to read.

    Attributes:
      sources: where from; the first is the one that was asked for.
      tasks: the slices.
    """

    sources: list[Source]
    tasks: list[ReadTask]

    @property
    def num_inputs(self) -> int:
        return sum(task.num_inputs for task in self.tasks)

    @property
    def num_asked(self) -> int:
        """Of them, those of the source that was asked for."""
        return sum(task.num_inputs for task in self.tasks if task.source == 0)


def everything(source: Source) -> ReadPlan:
    tasks = [ReadTask(number, 0, part) for number, part in enumerate(source.slices())]
    return ReadPlan([source], tasks)


def quarantined(
    planned: ArtifactPlan, source: Source, *, is_validation_cut: bool
) -> ReadPlan | None:
    """The inputs that were set aside, and beside them what was kept; None: there are none.

    Everything, where it cannot be told which inputs those are.

    Raises:
      ConfigError: nothing was prepared there from the same config, or other inputs changed.
    """
    planned.settle()
    standing = PreparedDataset.open(planned.directory)
    manifest = standing.artifact.manifest
    if manifest["config"] != planned.config:
        raise ConfigError(
            f"{planned.directory} was prepared with another config; give the same one to retry its "
            "quarantine, or prepare all of it again with --overwrite"
        )
    ids = {row["id"] for row in read_lines(standing.path / QUARANTINE)}
    if not ids:
        return None
    if source.fingerprint_without(ids) != manifest["counts"]["rest"]:
        raise ConfigError(
            f"{source.name} has changed in more than the inputs in quarantine; prepare all of it "
            "again with --overwrite"
        )
    parts = list(_holding(source.slices(), ids))
    # Labels are numbers that follow from all class names; and an id that is the source's own may
    # be another input's as well, which was kept.
    if source.class_names != manifest["counts"]["class_names"] or None in parts:
        return everything(source)
    tasks = [ReadTask(n, 0, *part) for n, part in enumerate(parts) if part is not None]
    kept = PreparedSource(standing.path, is_validation_cut=is_validation_cut)
    tasks += [ReadTask(n, 1, part) for n, part in enumerate(kept.slices(), start=len(tasks))]
    return ReadPlan([source, kept], tasks)


def _holding(
    slices: Sequence[Slice], ids: Collection[str]
) -> Iterator[tuple[Slice, frozenset[str]] | None]:
    """The slices that hold some of `ids`, with these; None where an id tells no place."""
    indices: dict[str, dict[int, str]] = {}
    for example_id in ids:
        if found := _INDEXED.fullmatch(example_id):
            indices.setdefault(found[1], {})[int(found[2])] = example_id
        elif not any(part.files for part in slices):
            yield None
            return
    for part in slices:
        if part.files:
            files = tuple(file for file in part.files if printable(file) in ids)
            members = frozenset(map(printable, files))
            part = dataclasses.replace(part, files=files, examples=len(files))
        else:
            here = indices.get(part.split, {})
            end = part.first + part.examples
            members = frozenset(here[index] for index in here if part.first <= index < end)
        if members:
            yield part, members
