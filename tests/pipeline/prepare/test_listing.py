import pickle

from etils import epath

from components.ingest.sorted_runs import SortedRun
from components.sources.source import Slice
from pipeline.prepare import listing
from pipeline.prepare.messages import ReadTask


def tasks() -> list[ReadTask]:
    """Tasks with names of files, of which one is not valid UTF-8, with wanted ids, and without."""
    names = ("a/ä.png", "a/\udcff\n.png", "b/\U0001f600.png")
    return [
        ReadTask(0, 0, Slice("train", "a", 0, 3, names)),
        ReadTask(1, 0, Slice("train", "all", 3, 5)),
        ReadTask(2, 0, Slice("test", "all", 0, 5), frozenset({"test-00000001", "test-00000003"})),
        ReadTask(3, 1, Slice("test", "c", 5, 1, ("c/1.png",)), frozenset({"c/1.png"})),
    ]


def test_a_worker_finds_the_names_in_the_listing(tmp_path):
    work_dir = epath.Path(tmp_path)
    listed = listing.write(tasks(), work_dir)
    assert [listing.complete(task, work_dir) for task in listed] == tasks()
    assert [task.max_inputs for task in tasks()] == [3, 5, 2, 1]


def test_a_task_without_names_has_no_line(tmp_path):
    listed = listing.write(tasks(), epath.Path(tmp_path))
    assert listed[1] == tasks()[1]
    assert len((tmp_path / listing.LISTING).read_bytes().splitlines()) == 3


def test_the_size_of_the_tasks_does_not_grow_with_the_number_of_files(tmp_path):
    sizes = []
    for count in (10, 1000):
        names = tuple(f"folder/{number:08d}.png" for number in range(count))
        plan = [ReadTask(n, 0, Slice("train", "folder", 0, count, names)) for n in range(50)]
        listed = listing.write(plan, epath.Path(tmp_path))
        sizes.append(sum(len(pickle.dumps(task)) for task in listed))
        assert sum(len(pickle.dumps(task)) for task in plan) > 50 * 20 * count
    assert sizes[1] < sizes[0] + 50 * 8


def test_the_listing_of_equal_tasks_is_equal(tmp_path):
    first = listing.write(tasks(), epath.Path(tmp_path))
    content = (tmp_path / listing.LISTING).read_bytes()
    assert listing.write(tasks(), epath.Path(tmp_path)) == first
    assert (tmp_path / listing.LISTING).read_bytes() == content


def test_the_runs_are_listed_in_order(tmp_path):
    runs = [
        SortedRun(f"{number:06d}-000", number, split, (6, 5, 3), 10 + number)
        for number, split in enumerate(["train", "test", "train", "train"])
    ]
    listing.write_runs(runs, epath.Path(tmp_path))
    assert listing.read_runs(epath.Path(tmp_path)) == runs
