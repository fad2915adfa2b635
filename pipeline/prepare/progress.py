"""How far a stage's workers have come, told by the reports that they leave."""

import contextlib
import json
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from etils import epath
from tqdm import tqdm

_SECONDS = 0.3


@contextlib.contextmanager
def shown(
    directory: epath.Path, total: int, label: str, count: Callable[[Any], dict[str, int]]
) -> Iterator[None]:
    """While the body runs, shows a bar of what the reports in `directory` count; then the rest.

    On a terminal only: a log stays quiet. Reports are seen whatever runner the workers belong to.

    Args:
      total: images in all.
      count: what a report's JSON value counts: `images`, which move the bar, and others, which are
        shown beside it.
    """
    if not sys.stderr.isatty():
        yield
        return
    ended = threading.Event()
    bar = tqdm(total=total, desc=label, unit=" images", unit_scale=True, dynamic_ncols=True)

    def watch() -> None:
        seen: set[str] = set()
        sums: dict[str, int] = {}
        while True:
            # Looked at once more after the end, so that the bar ends full.
            is_last = ended.wait(_SECONDS)
            for path in sorted(directory.glob("*.json")):
                if path.name in seen:
                    continue
                seen.add(path.name)
                counts = count(json.loads(path.read_text()))
                bar.update(counts.pop("images"))
                sums = {name: sums.get(name, 0) + value for name, value in counts.items()}
            bar.set_postfix({name: f"{value:,}" for name, value in sums.items()})
            if is_last:
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        bar.close()
