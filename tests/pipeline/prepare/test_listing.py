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


def test_a_worker_finds_its_task_in_the_listing(tmp_path):
    work_dir = epath.Path(tmp_path)
    numbers = listing.write(tasks(), work_dir)
    assert [listing.read(number, work_dir) for number in numbers] == tasks()
    assert [task.max_inputs for task in tasks()] == [3, 5, 2, 1]
    assert listing.with_task(3, work_dir, describe, "source") == "source 1: c/1.png"


def describe(task: ReadTask, word: str) -> str:
    return f"{word} {task.source}: {task.part.files[0]}"


def test_without_tasks_the_listing_is_empty(tmp_path):
    assert list(listing.write([], epath.Path(tmp_path))) == []


def test_what_is_sent_does_not_grow_with_the_files_or_the_slices(tmp_path):
    sizes = []
    for slices, count in ((500, 10), (500, 1000), (5000, 10)):
        names = tuple(f"folder/{number:08d}.png" for number in range(count))
        plan = [ReadTask(n, 0, Slice("train", "folder", 0, count, names)) for n in range(slices)]
        sizes.append(len(pickle.dumps(listing.write(plan, epath.Path(tmp_path)))))
        assert (tmp_path / listing.LISTING).stat().st_size > slices * 20 * count
    assert len(set(sizes)) == 1
    assert sizes[0] < 100


def test_the_listing_of_equal_tasks_is_equal(tmp_path):
    listing.write(tasks(), epath.Path(tmp_path))
    content = (tmp_path / listing.LISTING).read_bytes()
    listing.write(tasks(), epath.Path(tmp_path))
    assert (tmp_path / listing.LISTING).read_bytes() == content


def test_the_runs_are_listed_in_order(tmp_path):
    runs = [
        SortedRun(f"{number:06d}-000", number, split, (6, 5, 3), 10 + number)
        for number, split in enumerate(["train", "test", "train", "train"])
    ]
    listing.write_runs(runs, epath.Path(tmp_path))
    assert listing.read_runs(epath.Path(tmp_path)) == runs
