import itertools

import pytest

from components.ingest.sorted_runs import NUM_HASHES
from pipeline.prepare.assignment import Assignment, SplitShards


def test_only_train_is_divided():
    assignment = Assignment(0.25, 1)
    assert assignment.ranges("test") == {"test": (0, NUM_HASHES)}
    assert assignment.ranges("validation") == {"validation": (0, NUM_HASHES)}
    assert assignment.ranges("train") == {
        "train": (NUM_HASHES // 4, NUM_HASHES),
        "validation": (0, NUM_HASHES // 4),
    }
    assert Assignment(0.0, 1).ranges("train") == {"train": (0, NUM_HASHES)}


@pytest.mark.parametrize("fraction", [0.0, 1e-30, 0.1, 0.5, 0.999])
def test_ranges_cover_all_hashes_and_determine_the_split(fraction):
    assignment = Assignment(fraction, 1)
    ranges = sorted(assignment.ranges("train").values())
    assert (ranges[0][0], ranges[-1][1]) == (0, NUM_HASHES)
    assert all(one[1] == other[0] for one, other in itertools.pairwise(ranges))
    for split, (low, high) in assignment.ranges("train").items():
        for value in (low, (low + high) // 2, high - 1):
            assert assignment.split_of("train", value) == split


@pytest.mark.parametrize("number", [1, 2, 3, 1000])
def test_shards_are_equal_parts_of_the_range(number):
    low, high = NUM_HASHES // 3, NUM_HASHES
    bounds = SplitShards("train", "train", low, high, number).bounds
    assert (bounds[0], bounds[-1], len(bounds)) == (low, high, number + 1)
    sizes = [after - before for before, after in itertools.pairwise(bounds)]
    assert max(sizes) - min(sizes) <= 1
