"""Runs a command that prepares images, but with few files in a slice and few runs in a merge.

Arguments: the most runs of a merge, and the arguments of `python -m pipeline`.
"""

import sys

from components.base import command_line
from components.sources import folder
from pipeline import __main__
from pipeline.prepare import merge_plan

if __name__ == "__main__":
    folder.FILES_PER_SLICE = 5
    merge_plan.MAX_MERGED = int(sys.argv.pop(1))
    command_line.run(__main__.main)
