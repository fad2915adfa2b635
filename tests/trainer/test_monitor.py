import json

from etils import epath

from trainer.monitor import EpochMetrics, Monitor, read_metrics

LOSSES = {"loss": 3.0, "rate": 1.0, "distortion": 2.0}


def monitor(directory, *, resumed_step: int = 0) -> Monitor:
    return Monitor(
        epath.Path(directory), num_examples=100, epochs=5, met=0, resumed_step=resumed_step
    )


def rows(tmp_path, count: int) -> list[EpochMetrics]:
    made = [EpochMetrics(n, n * 10, LOSSES, None if n % 2 else LOSSES) for n in range(1, count + 1)]
    with monitor(tmp_path) as m:
        for row in made:
            m.on_epoch(row)
    return made


def test_metrics_are_one_line_an_epoch_and_read_back(tmp_path):
    made = rows(tmp_path, 3)
    assert read_metrics(epath.Path(tmp_path / "metrics.jsonl")) == made
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3]


def test_a_resumed_run_drops_what_came_after_its_checkpoint(tmp_path):
    made = rows(tmp_path, 3)
    with monitor(tmp_path, resumed_step=20) as m:
        assert m.history == made[:2]
    assert read_metrics(epath.Path(tmp_path / "metrics.jsonl")) == made[:2]


def test_nothing_is_printed_where_there_is_no_terminal(tmp_path, capsys):
    with monitor(tmp_path) as m:
        m.on_steps(epoch=1, examples=50, losses=LOSSES)
        m.on_epoch(EpochMetrics(1, 10, LOSSES, LOSSES))
    assert capsys.readouterr() == ("", "")


def test_tensorboard_gets_every_loss(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    rows(tmp_path, 2)
    events = EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={"tensors": 0})
    events.Reload()
    expected = {f"{name}/{part}" for name in LOSSES for part in ("train", "heldout")}
    assert set(events.Tags()["tensors"]) == expected
    assert [event.step for event in events.Tensors("loss/train")] == [1, 2]
