import functools
import pickle

import pytest
from etils import epath

from components.base import files
from components.base.errors import WorkError
from components.ingest.sorted_runs import NUM_HASHES
from pipeline.beam import worker_pool
from pipeline.prepare import deduplication, execution, merge_plan, read_plan, shard_plan, workers
from pipeline.prepare.assignment import Assignment
from pipeline.prepare.messages import QuarantineTask, ShardFormat, WriteTask
from tests import engines
from tests.pipeline.prepare.listed_source import (
    SHAPE,
    Item,
    ListedSource,
    examples,
    plan_runs,
    tally_of,
)


def reads(num_inputs: int, per_slice: int) -> read_plan.ReadPlan:
    return read_plan.plan_all(ListedSource({"train": examples(num_inputs)}, per_slice=per_slice))


@pytest.fixture
def work_dir(tmp_path) -> epath.Path:
    directory = execution.work_directory(epath.Path(tmp_path), "0" * 64)
    execution.open_work(directory)
    return directory


def test_other_work_has_another_directory(tmp_path):
    directory = epath.Path(tmp_path)
    one, other = (execution.work_directory(directory, key * 64) for key in "01")
    assert one != other
    assert {one.parent, other.parent} == {directory}


def test_opening_a_work_directory_keeps_what_is_in_it(work_dir):
    (work_dir / workers.READ / "000000.json").write_text("{}")
    execution.open_work(work_dir)
    assert (work_dir / workers.READ / "000000.json").exists()


def test_inputs_are_counted_by_their_reports_whatever_the_engine_counted(work_dir):
    with engines.local_job_service(engines.CountlessJobService()) as address:
        beam_args = ["--runner=PortableRunner", f"--job_endpoint={address}"]
        options = {"beam_args": [*beam_args, "--environment_type=LOOPBACK"]}
        _, inputs, _ = execution.read_slices(reads(6, per_slice=3), work_dir, options)
    assert inputs == {"train": tally_of(examples(6))}


def test_the_work_directory_is_removed_after_a_user_error_but_not_after_a_bug(work_dir):
    with pytest.raises(ZeroDivisionError), execution.removed_after_user_errors(work_dir):
        raise ZeroDivisionError
    assert work_dir.exists()
    with pytest.raises(WorkError), execution.removed_after_user_errors(work_dir):
        raise WorkError("no usable image")
    assert not work_dir.exists()


def test_reports_are_removed_before_the_files_that_they_describe(work_dir, monkeypatch):
    (work_dir / workers.READ / "000000.json").write_text("{}")
    (work_dir / "000000-000").write_text("a run")
    for folder in (deduplication.IDS, f"{deduplication.COUNTS}/3-1"):
        (work_dir / folder).mkdir(parents=True)
        (work_dir / folder / "0000.json").write_text("{}")
    (work_dir / deduplication.IDS / "0000.keys").write_text("keys")

    def interrupted(path, **_):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(work_dir), "rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt):
        execution.close_work(work_dir)
    assert {path.name for path in files.walk_files(work_dir)} == {"000000-000", "0000.keys"}


@pytest.mark.parametrize(
    ("num_inputs", "per_slice", "beam_args", "has_pool"),
    [
        (1000, 500, [], True),
        (5, 1, [], True),
        (999, 500, [], False),
        (4, 1, [], False),
        (1000, 1000, [], False),
        (1000, 500, ["--runner=FlinkRunner"], False),
    ],
)
def test_worker_processes_are_used_only_for_enough_work(num_inputs, per_slice, beam_args, has_pool):
    with execution.beam_options(reads(num_inputs, per_slice), beam_args) as options:
        assert options["beam_args"] == beam_args
        assert isinstance(options.get("task_runner"), worker_pool.WorkerPool) == has_pool


def test_what_the_driver_holds_of_a_slice_does_not_grow_with_the_classes(work_dir, monkeypatch):
    sizes = []
    for num_classes in (3, 300):
        source = ListedSource({"train": many_classes(3000, num_classes)}, per_slice=300)
        slices, inputs, _ = execution.read_slices(read_plan.plan_all(source), work_dir, {})
        assert len(inputs["train"].by_label) == num_classes
        assert len({id(part.rejected) for part in slices}) == 1
        sizes.append(len(pickle.dumps(slices)))
        execution.close_work(work_dir)
        execution.open_work(work_dir)
    assert sizes[0] == sizes[1] < 200 * 10


def many_classes(count: int, num_classes: int) -> list[Item]:
    return [(key, image, n % num_classes) for n, (key, image, _) in enumerate(examples(count))]


def test_all_pipelines_report_their_results_and_their_progress(
    work_dir, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(merge_plan, "MAX_MERGED", 2)
    slices, inputs, first_frames = execution.read_slices(reads(170, per_slice=30), work_dir, {})
    assert [part.number for part in slices] == [0, 1, 2, 3, 4, 5]
    assert [part.num_inputs for part in slices] == [30, 30, 30, 30, 30, 20]
    assert inputs == {"train": tally_of(examples(170))}
    assert first_frames == 0
    assert capsys.readouterr().err == "prepare: read 170 of 170 images, kept 170, quarantined 0\n"
    runs = [run for part in slices for run in part.runs]
    merged = execution.merged(runs, work_dir, {})
    assert capsys.readouterr().err == (
        "prepare: merged 6 of 6 sorted runs\nprepare: merged 2 of 2 sorted runs\n"
    )
    assert [run.rows for run in merged] == [120, 50]
    # Merging again finds its reports.
    assert execution.merged(runs, work_dir, {}) == merged
    capsys.readouterr()
    plan = plan_runs(merged, work_dir)
    half = NUM_HASHES // 2
    tasks = [
        WriteTask("train", "train", "one", 0, half, 85),
        WriteTask("train", "train", "two", half, NUM_HASHES, 85),
        QuarantineTask(0, "train", []),
    ]
    written, quarantined = execution.write_shards(
        tasks, ShardFormat(SHAPE, 3, plan.ranges), work_dir, tmp_path, {}
    )
    assert [report.file for report in written] == ["one", "two"]
    assert sum(report.kept.total for report in written) == 170
    assert [report.quarantined.total for report in quarantined] == [0]
    assert capsys.readouterr().err == "prepare: wrote 170 of 170 images, 2 shards\n"


@pytest.mark.parametrize(("per_range", "ranges"), [(1000, 1), (30, 6)])
def test_several_ranges_of_keys_are_compared_by_a_pipeline(
    per_range, ranges, work_dir, monkeypatch, capsys
):
    monkeypatch.setattr(deduplication, "_KEYS_PER_RANGE", per_range)
    found, _, _ = execution.read_slices(reads(170, per_slice=100), work_dir, {})
    capsys.readouterr()
    plan = shard_plan.plan_shards(
        [run for report in found for run in report.runs],
        work_dir,
        assignment=Assignment(0.0, 1000),
        drop_duplicates=False,
        dataset="cats",
        run_ranges=functools.partial(execution.compare, options={}),
    )
    assert plan.ranges == ranges
    assert sum(task.examples for task in plan.tasks) == 170
    lines = [
        f"prepare: compared the {what} of {ranges} of {ranges} ranges\n"
        for what in ("ids", "pixels")
    ]
    lines.append(f"prepare: counted the images of {ranges} of {ranges} ranges\n")
    assert capsys.readouterr().err == ("".join(lines) if ranges > 1 else "")
