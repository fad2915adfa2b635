"""The plan of the slices that prepare reads.

These are all slices of a source or, for `--retry_quarantined`, the inputs in quarantine and the
examples that an earlier run kept.
"""

import dataclasses
import re
from collections.abc import Collection, Iterator, Sequence

from components.base.artifacts import ArtifactPlan
from components.base.errors import ConfigError
from components.base.manifest import fingerprint, package_versions
from components.data.prepared_dataset import PreparedDataset
from components.sources.escaping import escape
from components.sources.prepared import PreparedSource
from components.sources.source import Slice, Source
from pipeline.prepare import quarantine
from pipeline.prepare.messages import ReadTask

# The version of the files in the work directory. Work of another version is not continued.
_WORK_VERSION = 3
# An id that `components.sources.source.example_id` made from a split and an index.
_INDEX_ID = re.compile(r"([a-z]+)-(\d{8,})")


@dataclasses.dataclass(frozen=True)
class ReadPlan:
    """The slices to read.

    Attributes:
      sources: the sources to read from; the first one is the source that the user named.
      tasks: one task per slice.
    """

    sources: list[Source]
    tasks: list[ReadTask]

    @property
    def max_inputs(self) -> int:
        """The largest number of inputs that the tasks read."""
        return sum(task.max_inputs for task in self.tasks)

    @property
    def max_source_inputs(self) -> int:
        """The largest number of inputs that the tasks read from the source that the user named."""
        return sum(task.max_inputs for task in self.tasks if task.source == 0)

    def work_key(self, plan: ArtifactPlan) -> str:
        """The digest of all that the work depends on: equal work has equal intermediate files.

        Args:
          plan: the artifact to make.
        """
        return fingerprint(
            {
                "version": _WORK_VERSION,
                "packages": package_versions(),
                "config": plan.config,
                "sources": [source.input.fingerprint for source in self.sources],
                "tasks": [
                    [
                        *(task.source, task.part.split, task.part.name),
                        *(task.part.first, task.part.examples, sorted(task.wanted_ids or ())),
                    ]
                    for task in self.tasks
                ],
            }
        )


def plan_all(source: Source) -> ReadPlan:
    """Plans to read all inputs of a source."""
    tasks = [ReadTask(number, 0, part) for number, part in enumerate(source.slices())]
    return ReadPlan([source], tasks)


def plan_retry(
    plan: ArtifactPlan, source: Source, *, validation_from_train: bool
) -> ReadPlan | None:
    """Plans to read the inputs in quarantine, and the examples that the earlier run kept.

    If the inputs in quarantine cannot be identified in the source, all inputs are read.

    Args:
      plan: the artifact to make; an earlier run published one from the same config.
      source: the source of that artifact.
      validation_from_train: whether prepare takes the validation split from train.

    Returns:
      The plan, or None if the quarantine is empty.

    Raises:
      ConfigError: there is no artifact of the same config, or other inputs have changed.
    """
    plan.recover_replacement()
    published = PreparedDataset.open(plan.directory)
    if published.artifact.manifest.config != plan.config:
        raise ConfigError(
            f"{plan.directory} was prepared with another config; use the same config to retry its "
            "quarantine, or prepare everything again with --overwrite"
        )
    published.artifact.verified(quarantine.QUARANTINE)
    ids = quarantine.read_ids(published.path)
    if not ids:
        return None
    if source.fingerprint_without(ids) != published.counts.rest:
        raise ConfigError(
            f"inputs of {source.name} that are not in quarantine have changed; prepare everything "
            "again with --overwrite"
        )
    parts = list(_parts_with(source.slices(), ids))
    # If the class names have changed, the labels of the kept examples have changed too. And an id
    # that the source read from a file may occur twice, in quarantine and among the kept examples.
    if source.class_names != published.class_names or None in parts:
        return plan_all(source)
    tasks = [ReadTask(n, 0, *part) for n, part in enumerate(parts) if part is not None]
    kept = PreparedSource(published.path, validation_from_train=validation_from_train)
    tasks += [ReadTask(n, 1, part) for n, part in enumerate(kept.slices(), start=len(tasks))]
    return ReadPlan([source, kept], tasks)


def _parts_with(
    slices: Sequence[Slice], ids: Collection[str]
) -> Iterator[tuple[Slice, frozenset[str]] | None]:
    """Yields the slices that hold some of `ids`, each with these ids.

    An id is a file's name or contains the input's index. Yields None if an id is neither, so that
    its slice is unknown.
    """
    indices: dict[str, dict[int, str]] = {}  # ids by split and index
    for example_id in ids:
        if match := _INDEX_ID.fullmatch(example_id):
            indices.setdefault(match[1], {})[int(match[2])] = example_id
        elif not any(part.files for part in slices):
            yield None
            return
    for part in slices:
        if part.files:
            files = tuple(file for file in part.files if escape(file) in ids)
            part_ids = frozenset(map(escape, files))
            part = dataclasses.replace(part, files=files, examples=len(files))
        else:
            split_ids = indices.get(part.split, {})
            end = part.first + part.examples
            part_ids = frozenset(split_ids[n] for n in split_ids if part.first <= n < end)
        if part_ids:
            yield part, part_ids
