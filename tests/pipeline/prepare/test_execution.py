import pytest
from etils import epath

from components.base.errors import WorkError
from components.ingest.sorted_runs import NUM_HASHES
from pipeline.beam import worker_pool
from pipeline.prepare import execution, read_plan
from pipeline.prepare.messages import QuarantineTask, ShardInputs, WriteTask
from tests.pipeline.prepare.listed_source import SHAPE, ListedSource, examples


def reads(num_inputs: int, per_slice: int) -> read_plan.ReadPlan:
    return read_plan.plan_all(ListedSource({"train": examples(num_inputs)}, per_slice=per_slice))


def test_the_work_directory_is_removed_at_the_end(tmp_path):
    with execution.work_directory(epath.Path(tmp_path)) as work_dir:
        assert work_dir.parent == epath.Path(tmp_path)
        assert sorted(path.name for path in work_dir.iterdir()) == [
            "quarantined",
            "read",
            "written",
        ]
    assert list(tmp_path.iterdir()) == []


def test_the_work_directory_is_removed_after_a_user_error_but_not_after_a_bug(tmp_path):
    directory = epath.Path(tmp_path)
    with pytest.raises(WorkError), execution.work_directory(directory):
        raise WorkError("damaged")
    assert list(tmp_path.iterdir()) == []
    with (
        pytest.raises(ZeroDivisionError),
        execution.work_directory(epath.Path(tmp_path)) as work_dir,
    ):
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.iterdir()] == [work_dir.name]


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


def test_both_pipelines_report_their_results_and_their_progress(tmp_path, capsys):
    plan = reads(70, per_slice=30)
    with execution.work_directory(epath.Path(tmp_path)) as work_dir:
        reports, counters = execution.read_slices(plan, work_dir, {})
        assert [report.number for report in reports] == [0, 1, 2]
        assert counters == {"read": 70}
        assert capsys.readouterr().err == (
            "prepare: read 70 of 70 images, kept 70, quarantined 0\n"
        )
        runs = [run for report in reports for run in report.runs]
        half = NUM_HASHES // 2
        tasks = [
            WriteTask("train", "train", "one", 0, half, 35),
            WriteTask("train", "train", "two", half, NUM_HASHES, 35),
            QuarantineTask(0, "train", [], []),
        ]
        inputs = ShardInputs(runs, {}, num_classes=3)
        written, quarantined, counters = execution.write_shards(
            tasks, inputs, work_dir, tmp_path, {}
        )
        assert [report.file for report in written] == ["one", "two"]
        assert sum(report.kept.total for report in written) == 70
        assert [report.quarantined.total for report in quarantined] == [0]
        assert counters == {"kept": 70, "bytes": 70 * 30}
        assert capsys.readouterr().err == "prepare: wrote 70 of 70 images, 2 shards\n"
    assert inputs.shape == SHAPE
