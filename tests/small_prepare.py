"""Runs a command that prepares images, but with small slices, merges and ranges of hashes.

Arguments: the most runs of a merge, and the arguments of `python -m pipeline`.
"""

import sys

from components.base import command_line
from components.sources import folder
from pipeline import __main__
from pipeline.prepare import deduplication, merge_plan

if __name__ == "__main__":
    folder.FILES_PER_SLICE = 5
    merge_plan.MAX_MERGED = int(sys.argv.pop(1))
    deduplication._KEYS_PER_RANGE = 20
    command_line.run(__main__.main)
