"""The benchmarks run, and what they print is a table; no figure is looked at."""

import functools

import numpy as np
import pytest

from benchmarks import peers, rows, train_tasks, turns
from benchmarks.peers import keras_fit
from benchmarks.rows import Figures, Row
from components.model import costs
from components.model.vae import VAE


def cells(text: str) -> dict[str, list[str]]:
    """The rows of all Markdown tables in a text, by their first cell."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    split = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {first: rest for first, *rest in split}


def test_the_command_names_the_machine_and_compares(cli, tmp_path):
    done = cli(
        "benchmarks.prepare", "--only", "memory", "--images", 700, "--repeats", 1,
        "--data_dir", tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shown = cells(done.stdout)
    assert {"CPU", "memory", "Python", "one core's speed", "sizes"} <= shown.keys()
    images, rate, *_ = shown["ours, 8,571 of them train"]
    assert images == "10,000"
    assert float(rate.replace(",", "")) > 0
    *_, largest, together, _, remark = shown["the second / the first"]
    assert 0.5 < float(largest) < 2
    assert 0.5 < float(together) < 2
    assert remark.startswith("<= 1.3")


def test_an_unknown_section_is_refused(cli):
    done = cli("benchmarks.prepare", "--only", "wrote")
    assert done.returncode == 2
    assert "nearest: write" in done.stderr


def test_a_section_compares_peers_with_what_is_ours():
    def figures(rate: float) -> Figures:
        return Figures(1000, rate, 0.0, 2.5, 3e6, 4e6)

    given = [
        Row("ours", "prepare", {}, is_ours=True),
        Row("slower", "peer", {}),
        Row("broken", "peer", {}),
    ]
    results = [figures(6000.0), figures(1000.0), "failed: no disk"]
    text = rows.section("Writing", given, results, remarks=["as asked"], cores=[2, 1, 1])
    shown = cells(text)
    assert shown["ours"] == ["1,000", "6,000", "3,000", "2.5", "3", "4", "", "as asked"]
    assert shown["slower"] == ["1,000", "1,000", "1,000", "2.5", "3", "4", "3.00", ""]
    assert shown["broken"] == [*[""] * 7, "failed: no disk"]
    assert len({len(line) for line in text.splitlines() if line.startswith("|")}) == 1


def test_a_task_that_fails_costs_its_row_alone(tmp_path):
    given = [
        Row("absent", "pillow_loop", {"no_such": 1}),
        Row("skipped", "pillow_loop", {}, missing="skipped: not there"),
        Row(
            "written", "write_idx", {"output": str(tmp_path / "idx"), "images": 70, "data_dir": ""}
        ),
    ]
    failed, skipped, written = rows.measure(given, repeats=1, for_memory=True)
    assert failed.startswith("failed: TypeError")
    assert skipped == "skipped: not there"
    assert written.images == 70
    assert written.largest > 10e6
    assert not (tmp_path / "idx").exists()


# --- the trainer's --------------------------------------------------------------------------------


@functools.cache
def loss(task: str, examples: str, **arguments) -> float:
    """Of the second pass over the images."""
    report = train_tasks.TASKS[task](examples=examples, seconds=0, **arguments)
    assert report["images"] > 0
    assert report["seconds"] > 0
    return report["loss"]


def test_our_loop_learns_the_same_held_and_streamed(examples_dir):
    held, streamed = (
        loss("ours", str(examples_dir), preset="mlp", cache_bytes=size) for size in (None, 0)
    )
    assert held == streamed
    # An untrained model gives each of 784 pixels a probability of about a half.
    assert held < 0.9 * 784 * np.log(2)


@pytest.mark.parametrize(
    ("task", "arguments"),
    [
        ("bare", {"preset": "mlp"}),
        ("keras_fit", {"model": "mlp"}),
        ("keras_fit", {"model": "mlp", "jit_compile": True, "steps_per_execution": 3}),
        ("jax_steps", {"model": "mlp"}),
        ("jax_steps", {"model": "mlp", "scanned": False}),
        ("torch_loop", {"model": "mlp"}),
    ],
)
def test_peers_learn_what_our_loop_does(examples_dir, task, arguments):
    if (package := task.partition("_")[0]) in ("jax", "torch"):
        pytest.importorskip(package)
    ours = loss("ours", str(examples_dir), preset="mlp", cache_bytes=None)
    # Their first weights, order and noise are others.
    assert loss(task, str(examples_dir), **arguments) == pytest.approx(ours, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["jax_steps", "torch_loop"])
def test_convolutional_peers_learn(examples_dir, task):
    pytest.importorskip(task.partition("_")[0])
    keras = loss("keras_fit", str(examples_dir), model="conv")
    assert keras < 784 * np.log(2)
    options = {"scanned": False} if task == "jax_steps" else {}
    assert loss(task, str(examples_dir), model="conv", **options) == pytest.approx(keras, rel=0.1)


def test_the_peers_models_are_those_of_the_issue():
    mlp = costs.count(*keras_fit.networks("mlp"))
    ours = VAE(image_shape=(28, 28, 1), network="mlp", latents=2, widths=(256,))
    assert mlp.parameters == ours.count_params()
    assert mlp.training_flops == costs.count(ours.encoder, ours.decoder).training_flops
    assert round(mlp.training_flops / 1e6, 2) == 2.42
    assert round(costs.count(*keras_fit.networks("conv")).training_flops / 1e6) == 40


def test_the_first_lap_is_not_timed():
    met = iter([9.0, 7.0, 5.0])
    report = peers.laps(lambda: next(met), images=10, seconds=0)
    assert (report["images"], report["loss"]) == (10, 7.0)


def test_rows_are_compared_turn_by_turn():
    def reports(*rates: float, **more) -> list[dict]:
        return [{"images": 2 * rate, "seconds": 2.0} | more for rate in rates]

    given = [
        turns.Row("ours", "ours", {}),
        turns.Row("peer", "keras_fit", {}, lambda ratio: f"judged {ratio:.1f}"),
        turns.Row("slow", "keras_fit", {}),
        turns.Row("limit", "limit", {}),
        turns.Row("broken", "keras_fit", {}),
    ]
    results = [
        reports(4000, 1000, 9000, loss=250.04),
        # Its ratios are 4, 1/3 and 3, that of the medians is 2.
        reports(1000, 3000, 3000),
        reports(500),
        reports(8000, 2000, 18000, flops=2e6),
        "failed: no disk",
    ]
    shown = cells(turns.compared(given, results))
    assert shown["ours"] == ["4,000", "1,000", "9,000", "", "250.0", ""]
    assert shown["peer"] == ["3,000", "1,000", "3,000", "3.00", "", "judged 3.0"]
    assert shown["slow"] == ["500", "500", "500", "8.00", "", "one run"]
    assert shown["limit"][3:] == ["0.50", "", "16 GFLOP/s over 2.00 MFLOP an image"]
    assert shown["broken"] == [*[""] * 5, "failed: no disk"]


def test_without_ours_there_is_nothing_to_compare_with():
    given = [turns.Row("ours", "ours", {}), turns.Row("peer", "keras_fit", {})]
    shown = cells(turns.compared(given, ["failed: at once", [{"images": 10, "seconds": 1.0}]]))
    assert shown["ours"] == [*[""] * 5, "failed: at once"]
    assert shown["peer"] == ["10", "10", "10", "", "", "one run"]


def test_a_training_task_that_fails_costs_its_row_alone():
    given = [
        turns.Row("wrong", "ours", {"no_such": 1}),
        turns.Row("skipped", "torch_loop", {}, missing="absent"),
    ]
    failed, skipped = turns.measure(given, 1)
    assert failed.startswith("failed: TypeError")
    assert skipped == "absent"


def test_the_limit_is_the_rate_of_products_over_their_number():
    report = train_tasks.limit("mlp")
    assert report["flops"] == 2_417_664
    assert 1e9 < report["images"] / report["seconds"] * report["flops"] < 1e15


def test_the_train_command_measures_the_first_call(cli, tmp_path):
    done = cli(
        "benchmarks.train", "--only", "start", "--images", 600, "--repeats", 1,
        "--data_dir", tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shown = cells(done.stdout)
    assert {"CPU", "sizes"} <= shown.keys()
    assert "keras 3" in shown["Python"][0]
    seconds, lowest, highest, remark = shown[
        "`python -m trainer`, the first call of steps included"
    ]
    assert 0 < float(lowest) == float(seconds) == float(highest)
    assert remark.startswith("<= 8 s asked")


def test_what_the_train_command_cannot_measure_is_refused(cli):
    done = cli("benchmarks.train", "--only", "stat")
    assert done.returncode == 2
    assert "nearest: start" in done.stderr
