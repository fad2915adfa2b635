"""The console script `vae-pipeline`: the commands of `python -m pipeline`, and `train`.

`vae-pipeline train` is `python -m trainer`.
"""

import sys
from typing import NoReturn

from components.base import stop_signals

_NAMES = {"python -m pipeline": "vae-pipeline", "python -m trainer": "vae-pipeline train"}


def script() -> NoReturn:
    """Runs the command given by the process's arguments, and ends the process."""
    # Before the other imports, which take a tenth of a second.
    stop_signals.end_at_once()
    from components.base import command_line

    command_line.use_script(_NAMES)
    command_line.run(_main)


def _main() -> None:
    if sys.argv[1:2] == ["train"]:
        from trainer.__main__ import main as train

        del sys.argv[1]
        train()
    else:
        from pipeline.__main__ import main

        main()
