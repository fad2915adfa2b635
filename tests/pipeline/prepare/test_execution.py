import pytest
from etils import epath

from components.base.errors import WorkError
from components.ingest.sorted_runs import NUM_HASHES
from pipeline.beam import worker_pool
from pipeline.prepare import execution, listing, merge_plan, read_plan, workers
from pipeline.prepare.messages import QuarantineTask, ShardFormat, WriteTask
from tests import engines
from tests.pipeline.prepare.listed_source import SHAPE, ListedSource, examples


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


def test_the_counters_are_those_of_the_reports_whatever_the_engine_counted(work_dir):
    with engines.local_job_service(engines.CountlessJobService()) as address:
        beam_args = ["--runner=PortableRunner", f"--job_endpoint={address}"]
        options = {"beam_args": [*beam_args, "--environment_type=LOOPBACK"]}
        _, counters = execution.read_slices(reads(6, per_slice=3), work_dir, options)
    assert counters == {"read": 6}


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
    removed = []
    rmtree = type(work_dir).rmtree

    def interrupted(path):
        removed.append(path.name)
        if path == work_dir:
            raise KeyboardInterrupt
        rmtree(path)

    monkeypatch.setattr(type(work_dir), "rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt):
        execution.close_work(work_dir)
    assert removed == [workers.READ, workers.MERGED, work_dir.name]
    assert (work_dir / "000000-000").exists()


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


def test_all_pipelines_report_their_results_and_their_progress(
    work_dir, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(merge_plan, "MAX_MERGED", 2)
    reports, counters = execution.read_slices(reads(170, per_slice=30), work_dir, {})
    assert [report.number for report in reports] == [0, 1, 2, 3, 4, 5]
    assert counters == {"read": 170}
    assert capsys.readouterr().err == "prepare: read 170 of 170 images, kept 170, quarantined 0\n"
    runs = [run for report in reports for run in report.runs]
    merged = execution.merged(runs, work_dir, {})
    assert capsys.readouterr().err == (
        "prepare: merged 6 of 6 sorted runs\nprepare: merged 2 of 2 sorted runs\n"
    )
    assert [run.rows for run in merged] == [120, 50]
    # Merging again finds its reports.
    assert execution.merged(runs, work_dir, {}) == merged
    capsys.readouterr()
    listing.write_runs(merged, work_dir)
    half = NUM_HASHES // 2
    tasks = [
        WriteTask("train", "train", "one", 0, half, 85, {}),
        WriteTask("train", "train", "two", half, NUM_HASHES, 85, {}),
        QuarantineTask(0, "train", [], []),
    ]
    written, quarantined, counters = execution.write_shards(
        tasks, ShardFormat(SHAPE, num_classes=3), work_dir, tmp_path, {}
    )
    assert [report.file for report in written] == ["one", "two"]
    assert sum(report.kept.total for report in written) == 170
    assert [report.quarantined.total for report in quarantined] == [0]
    assert counters == {"kept": 170, "bytes": 170 * 30}
    assert capsys.readouterr().err == "prepare: wrote 170 of 170 images, 2 shards\n"
