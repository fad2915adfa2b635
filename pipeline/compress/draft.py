"""The unfinished work of compress: a directory of blocks beside the output file.

`ArtifactPlan` publishes directories with a manifest of their origin. The result of compress is a
single file that people send to each other; its own header has this information.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from etils import epath

from components.base import artifacts, files, json_types
from components.base.errors import ConfigError
from components.base.manifest import DRAFT_SUFFIX

_PLAN = "plan.json"
_MAX_PLAN_BYTES = 1 << 20


@contextlib.contextmanager
def open_draft(
    output: epath.Path, plan: Mapping[str, Any], *, overwrite: bool
) -> Iterator[epath.Path]:
    """A directory for the blocks of a file; an interrupted command leaves its blocks there.

    It is removed when the body ends without an exception.

    Args:
      output: the file that compress will write.
      plan: everything that its blocks depend on, as JSON values.
      overwrite: whether to discard the blocks of another plan.

    Raises:
      ConfigError: the directory holds something else.
      WorkError: another process is writing it.
    """
    directory = output.parent / f"{output.name}{DRAFT_SUFFIX}"
    with files.directory_lock(directory):
        plan_file = directory / _PLAN
        children = files.entries(directory)
        if children and not plan_file.exists():
            raise ConfigError(
                f"{directory} is in the way and is not unfinished work of compress (it has no "
                f"{_PLAN}); move it away"
            )
        if children and _read(plan_file) != plan:
            if not overwrite:
                raise ConfigError(
                    f"{directory} holds unfinished work on another input, with another model or "
                    "other settings; choose another --output, or discard it with --overwrite"
                )
            for child in children:
                child.unlink()
        with artifacts.atomic_write(plan_file) as temporary:
            files.write_durably(temporary, json.dumps(plan, indent=2))
        yield directory
        directory.rmtree()


def _read(path: epath.Path) -> Any:
    try:
        return json_types.load(path, max_bytes=_MAX_PLAN_BYTES)
    except ValueError:
        return None
