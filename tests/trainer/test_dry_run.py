import dataclasses
import os
import shutil

import pytest

from components.base.arithmetic import ceil_div
from components.base.errors import ConfigError
from tests.conftest import tiny_train_config
from trainer import stage
from trainer.config import RunOptions, load_config
from trainer.dry_run import describe


def described(config, examples, **options) -> dict[str, str]:
    """The lines of the description, by label."""
    text = describe(config, RunOptions(**options), examples)
    return {line[:14].strip(): line[15:] for line in text.splitlines()}


@pytest.fixture(scope="module")
def mlp(example_set) -> dict[str, str]:
    return described(load_config("mlp"), example_set)


def test_the_costs_of_the_mlp_preset(mlp, example_set):
    kernels = 784 * 256 + 256 * 4 + 2 * 256 + 256 * 784
    parameters = kernels + 256 + 4 + 256 + 784
    assert mlp["network"] == f"mlp of widths 256 and 2 latents: {parameters:,} parameters"
    # Two operations per weight: forward, and backward to the kernels and to the inputs.
    flops = 6 * kernels
    images = 50 * example_set.num_examples("train")
    assert mlp["work"] == (
        f"{flops / 1e6:.1f} MFLOP per example, 0.24 GFLOP per step, {flops * images:.2g} FLOP in "
        "all: encoder 50%, decoder 50%"
    )
    assert mlp["devices"] == "1 x CPU"
    assert mlp["parts"] == "bernoulli likelihood, factorized head, standard_normal prior"
    assert mlp["objective"] == "the ELBO"
    assert mlp["precision"] == "float32, compiled by XLA"
    assert mlp["learning rate"] == (
        "rmsprop, 0.002: rises from 0 over 30 steps, then falls along half a cosine to 0"
    )
    assert mlp["warm-up"] == "30 of 300 steps; warmup_steps 500 is bounded by warmup_share 0.1"
    assert mlp["beta"] == "1"


def test_a_hierarchy_has_latents_at_each_position(example_set):
    fields = {"network": "residual", "levels": "2", "latents": "3", "widths": "4,8,8"}
    lines = described(load_config("mlp", overrides=fields), example_set)
    assert lines["network"].startswith(
        "residual of widths 4, 8, 8 and 3 latents at each position of 2 levels: "
    )


def test_a_linear_path_is_a_part(example_set):
    lines = described(load_config("color"), example_set)
    assert lines["parts"] == (
        "gaussian likelihood, factorized head, standard_normal prior, principal_components linear "
        "path"
    )


def test_the_memory_of_the_mlp_preset(mlp, example_set):
    # Parameters, gradients and mean squares in float32; activations of 100 examples.
    elements = 256 + 256 + 4 + 5 * 2 + 256 + 256 + 784 + 784 + 784
    parameters, activations = 4 * 404_244, 4 * 100 * elements
    # An epoch has fewer than 100 steps, so a call has as many steps as an epoch.
    images = ceil_div(example_set.num_examples("train"), 100) * 100 * 784
    assert mlp["memory"] == (
        f"about {(3 * parameters + activations + images) / 1e6:.2f} MB on each replica: "
        "parameters 1.62 MB, gradients 1.62 MB, slots 1.62 MB, "
        f"activations {activations / 1e6:.2f} MB, images of 6 steps {images / 1e3:.2f} kB"
    )


def test_batches_and_data(mlp, example_set):
    count = example_set.num_examples("train")
    assert 500 < count < 600
    assert mlp["steps"] == "300: 50 epochs of 6, in 50 calls of at most 6 steps"
    assert mlp["batch"] == (
        f"100 examples: 100 on 1 replica; the last batch of an epoch {count - 500}: "
        f"{count - 500} on 1 replica"
    )
    assert mlp["data"].startswith(f"{count} examples, {count * 784 / 1e3:.2f} kB, held in memory")
    heldout = example_set.num_examples("validation")
    assert mlp["held out"] == f"{heldout} of {heldout} examples, evaluated every epoch"


def test_another_run(example_set):
    config = tiny_train_config(
        "conv", widths=(4, 8), replicas=2, batch_size=38, accumulate=4, steps_per_call=7, epochs=3,
        beta=4, beta_schedule="cyclical", schedule="one_cycle", ema_decay=0.9, eval_every=2,
        heldout_examples=7, precision="bfloat16",
    )  # fmt: skip
    count = example_set.num_examples("train")
    lines = described(config, example_set, cache_bytes=count * 784 - 1)
    assert lines["devices"] == "2 x CPU"
    assert lines["precision"] == "bfloat16, not compiled by XLA"
    # Parts of 5 examples: 20 examples on the first replica, the other 18 on the second.
    last = count % 38
    assert 0 < last < 20
    assert lines["batch"] == (
        "38 examples: 20 in 4 parts of 5 on 1 replica, 18 on 1 replica; "
        f"the last batch of an epoch {last}: {last} on 1 replica, none on 1 replica"
    )
    steps = ceil_div(count, 38)
    assert lines["steps"] == (
        f"{3 * steps}: 3 epochs of {steps}, in {3 * ceil_div(steps, 7)} calls of at most 7 steps"
    )
    assert (
        f"streamed from the shards (the limit is {(count * 784 - 1) / 1e3:.2f} kB)"
        in (lines["data"])
    )
    assert "average " in lines["memory"]
    # Convolutions and dense layers before and after activation: 14 x 14 x 4 and 8. Two outputs of
    # 32 latents, five exponentials of latents, the products of the last layer, whose kernel has 16
    # elements, and two terms of each pixel.
    elements = 2 * 784 + 2 * 8 + 64 + 5 * 32 + 2 * 8 + 2 * 784 + 16 * 14 * 14 + 2 * 784
    assert f"activations {5 * 2 * elements / 1e3:.2f} kB" in lines["memory"]
    assert lines["learning rate"].startswith("adam, 0.001: one cycle")
    assert lines["beta"] == "4, rising from 0 over the first half of each of 4 cycles"
    assert lines["held out"].startswith("7 of ")
    assert lines["held out"].endswith(" examples, evaluated every 2 epochs")


def test_full_batches_only(example_set):
    count = example_set.num_examples("train")
    lines = described(tiny_train_config(batch_size=count), example_set)
    assert lines["batch"] == f"{count} examples: {count} on 1 replica"
    assert lines["learning rate"] == "rmsprop, 0.002: falls along half a cosine to 0"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "none"),
        ({"warmup_steps": 2}, "2 of 22 steps"),
        (
            {"warmup_steps": 500, "warmup_share": 1},
            "22 of 22 steps; warmup_steps 500 is bounded by warmup_share 1; warning: it does not "
            "end within the run",
        ),
    ],
)
def test_the_warm_up_is_described(example_set, fields, expected):
    assert described(tiny_train_config(**fields), example_set)["warm-up"] == expected


def test_other_hosts_are_not_waited_for(example_set, monkeypatch):
    cluster = '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}'
    monkeypatch.setenv("TF_CONFIG", cluster)
    lines = described(tiny_train_config(), example_set)
    assert lines["devices"] == "2 hosts with 1 x CPU each"
    assert lines["batch"].startswith("50 examples: 25 on 2 replicas; ")
    assert os.environ["TF_CONFIG"] == cluster


def test_no_images_are_read_and_no_files_written(examples_dir, tmp_path, monkeypatch):
    examples = tmp_path / "examples"
    shutil.copytree(examples_dir, examples)
    shards = list(examples.glob("*.tfrecord*"))
    assert shards
    for shard in shards:
        shard.write_bytes(bytes(shard.stat().st_size))
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    text = stage.dry_run(tiny_train_config(), RunOptions(), examples=examples)
    assert text.startswith("devices ")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_the_command_needs_no_output(cli, examples_dir, example_set):
    config = tiny_train_config()
    options = ("--widths", 16, "--batch_size", 50, "--epochs", 2, "--warmup_steps", 0)
    cache = ("--cache_bytes", 10**6)  # The default depends on the free memory of the moment.
    done = cli("trainer", "--examples", examples_dir, "--dry_run", *options, *cache)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == describe(config, RunOptions(cache_bytes=10**6), example_set) + "\n"


def test_what_a_run_rejects_is_rejected(example_set):
    with pytest.raises(ConfigError, match="precision float16 needs a GPU"):
        described(tiny_train_config(precision="float16"), example_set)
    with pytest.raises(ConfigError, match="no examples in split 'train'"):
        shards = {"test": example_set.shards["test"]}
        counts = dataclasses.replace(example_set.counts, shards=shards)
        described(tiny_train_config(), dataclasses.replace(example_set, counts=counts))


def test_the_labels_of_a_conditional_model_are_described(example_set):
    lines = described(load_config("mlp", overrides={"condition": "label"}), example_set)
    kernels = 784 * 256 + 256 * 4 + 10 * 2 + 12 * 256 + 256 * 784
    parameters = kernels + 256 + 4 + 256 + 784
    assert lines["network"] == (
        f"mlp of widths 256 and 2 latents, given one of 10 labels: {parameters:,} parameters"
    )
    assert lines["work"].startswith(f"{6 * kernels / 1e6:.1f} MFLOP per example")
