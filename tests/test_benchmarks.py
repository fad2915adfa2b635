"""The benchmarks run and print tables. No test looks at a figure."""

import functools
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from benchmarks import embed, image_formats, libraries, medians, scale, train, turns, uses
from benchmarks.curves import read_curve
from benchmarks.inputs import BenchmarkInputs
from benchmarks.medians import Medians
from benchmarks.peers import keras_fit
from benchmarks.rows import BenchmarkRow, missing
from benchmarks.sizes import Bar
from benchmarks.tasks import embedding, reports, training
from benchmarks.tasks.run import TASKS
from components.base.errors import ConfigError
from components.data.prepared_dataset import PreparedDataset
from components.model import costs, vae
from components.model.objective import Elbo
from trainer.config import load_config


def table_rows(text: str) -> dict[str, list[str]]:
    """The rows of all Markdown tables in a text, by their first cell."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    split = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {first: rest for first, *rest in split}


@pytest.fixture
def measured_rows(cli, tmp_path) -> Callable[..., dict[str, list[str]]]:
    """Returns a function that measures one section of a benchmark; it returns all table rows."""

    def measure(module: str, section: str, *, images: int) -> dict[str, list[str]]:
        options = ("--only", section, "--images", images, "--repeats", 1, "--data_dir", tmp_path)
        done = cli(module, *options)
        assert done.returncode == 0, done.stderr
        return table_rows(done.stdout)

    return measure


# --- prepare --------------------------------------------------------------------------------------


def test_the_prepare_command_describes_the_machine_and_compares(measured_rows):
    rows = measured_rows("benchmarks.prepare", "memory", images=700)
    assert {"CPU", "memory", "Python", "one core's speed", "sizes"} <= rows.keys()
    images, rate, *_ = rows["ours, 8,571 training images"]
    assert images == "10,000"
    assert float(rate.replace(",", "")) > 0
    *_, largest, total, _, remark = rows["second / first"]
    assert 0.5 < float(largest) < 2
    assert 0.5 < float(total) < 2
    assert remark.startswith("target <= 1.3")


@pytest.mark.parametrize(
    ("module", "section", "nearest"),
    [("benchmarks.prepare", "wrote", "write"), ("benchmarks.train", "stat", "start")],
)
def test_an_unknown_section_is_refused(cli, module, section, nearest):
    done = cli(module, "--only", section)
    assert done.returncode == 2
    assert f"nearest: {nearest}" in done.stderr


def test_a_section_compares_peers_with_ours():
    def medians_of(rate: float) -> Medians:
        return Medians(1000, rate, 0.0, 2.5, 3e6, 4e6)

    given = [
        BenchmarkRow("ours", "prepare", {}, is_ours=True),
        BenchmarkRow("slower", "peer", {}, judge=lambda ratio: f"ratio {ratio:.0f}"),
        BenchmarkRow("broken", "peer", {}),
    ]
    results = [medians_of(6000.0), medians_of(1000.0), "failed: no disk"]
    text = medians.section("Writing", given, results, remarks=["target met"], cores=[2, 1, 1])
    rows = table_rows(text)
    assert rows["ours"] == ["1,000", "6,000", "3,000", "2.5", "3", "4", "", "target met"]
    assert rows["slower"] == ["1,000", "1,000", "1,000", "2.5", "3", "4", "3.00", "ratio 3"]
    assert rows["broken"] == [*[""] * 7, "failed: no disk"]
    assert len({len(line) for line in text.splitlines() if line.startswith("|")}) == 1


def test_a_failed_task_fails_only_its_own_row(tmp_path):
    idx = {"output": str(tmp_path / "idx"), "images": 70, "data_dir": ""}
    given = [
        BenchmarkRow("failing", "pillow_loop", {"no_such": 1}),
        BenchmarkRow("skipped", "pillow_loop", {}, missing="skipped: not there"),
        BenchmarkRow("written", "write_idx", idx),
    ]
    failed, skipped, written = medians.measure(given, repeats=1, for_memory=True)
    assert failed.startswith("failed: TypeError")
    assert skipped == "skipped: not there"
    assert written.images == 70
    assert written.largest > 10e6
    assert not (tmp_path / "idx").exists()


# --- libraries ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> BenchmarkInputs:
    """700 drawn garments, 600 of them for training."""
    directory = tmp_path_factory.mktemp("benchmarks")
    return BenchmarkInputs(directory, images=700, repeats=1, data_dir=str(directory / "none"))


@pytest.mark.parametrize(
    ("task", "package", "arguments"),
    [
        ("inflate", "zlib", {"module": "zlib"}),
        ("inflate", "zlib_ng", {"module": "zlib_ng.zlib_ng"}),
        ("inflate", "isal", {"module": "isal.isal_zlib"}),
        ("decode_pngs_ours", "numpy", {}),
        ("decode_pngs", "pyspng", {"library": "pyspng"}),
        ("decode_pngs", "cv2", {"library": "opencv"}),
        ("decode_pngs", "PIL", {"library": "pillow"}),
        ("extract_ours", "numpy", {}),
        ("extract_protobuf", "numpy", {}),
    ],
)
def test_every_library_handles_all_records(inputs, task, package, arguments):
    if missing(package):
        pytest.skip(f"no {package}")
    report = TASKS[task](records=inputs.records, images=inputs.train, **arguments)
    assert report["images"] == 600


@pytest.mark.parametrize(
    "task",
    [
        "read_ours",
        "read_tf_data",
        "read_tf_data_batches",
        "read_shards_ours",
        "read_shards_protobuf",
        "encode_ours",
        "encode_protobuf",
    ],
)
def test_every_reader_and_encoder_handles_all_shards(inputs, task):
    assert TASKS[task](directory=inputs.shards)["images"] == 600


def test_a_task_that_handles_too_few_images_fails(inputs):
    with pytest.raises(ValueError, match="only 600 of 601 images"):
        TASKS["extract_ours"](records=inputs.records, images=601)


def test_a_library_within_a_fifth_of_our_speed_wins():
    assert libraries.verdict(1.25) == "0.80 of our speed: the library wins"
    assert libraries.verdict(1.3) == "0.77 of our speed: ours wins"
    assert libraries.verdict(0.5) == "2.00 of our speed: the library wins"


def test_a_library_that_is_not_installed_is_skipped():
    assert missing("no_such_package") == "skipped: not installed"
    assert missing("numpy") == ""


# --- train ----------------------------------------------------------------------------------------


@functools.cache
def second_loss(task: str, examples: str, **arguments) -> float:
    """The loss of a task's second pass over the images."""
    report = TASKS[task](examples=examples, seconds=0, **arguments)
    assert report["images"] > 0
    assert report["seconds"] > 0
    return report["loss"]


def test_our_loop_learns_the_same_from_memory_and_from_shards(examples_dir):
    in_memory, streamed = (
        second_loss("ours", str(examples_dir), preset="mlp", cache_bytes=size) for size in (None, 0)
    )
    assert in_memory == streamed
    # An untrained model gives each of 784 pixels a probability of about one half.
    assert in_memory < 0.9 * 784 * np.log(2)


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
def test_peers_learn_what_our_loop_learns(examples_dir, task, arguments):
    if (package := task.partition("_")[0]) in ("jax", "torch"):
        pytest.importorskip(package)
    ours = second_loss("ours", str(examples_dir), preset="mlp", cache_bytes=None)
    # Peers have other initial weights, another order and other noise.
    assert second_loss(task, str(examples_dir), **arguments) == pytest.approx(ours, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["jax_steps", "torch_loop"])
def test_convolutional_peers_learn(examples_dir, task):
    pytest.importorskip(task.partition("_")[0])
    keras = second_loss("keras_fit", str(examples_dir), model="conv")
    assert keras < 784 * np.log(2)
    options = {"scanned": False} if task == "jax_steps" else {}
    peer = second_loss(task, str(examples_dir), model="conv", **options)
    assert peer == pytest.approx(keras, rel=0.1)


def test_the_peers_models_have_the_size_of_ours():
    presets = {"mlp": "mlp", "conv": "keras_conv"}
    for model, preset in presets.items():
        ours = costs.count(load_config(preset).architecture((28, 28, 1)), Elbo())
        peers = sum(network.count_params() for network in keras_fit.networks(model))
        assert peers == ours.parameters
        assert training.peer_flops(model) == ours.training_flops
    assert round(training.peer_flops("mlp") / 1e6, 2) == 2.42
    assert round(training.peer_flops("conv") / 1e6) == 40


def test_the_first_lap_is_not_timed():
    losses = iter([9.0, 7.0, 5.0])
    report = reports.laps(lambda: next(losses), images=10, seconds=0)
    assert (report["images"], report["loss"]) == (10, 7.0)


def test_rows_are_compared_turn_by_turn():
    def reports_of(*rates: float, **more) -> list[dict]:
        return [{"images": 2 * rate, "seconds": 2.0} | more for rate in rates]

    given = [
        BenchmarkRow("ours", "ours", {}),
        BenchmarkRow("peer", "keras_fit", {}, judge=lambda ratio: f"judged {ratio:.1f}"),
        BenchmarkRow("slow", "keras_fit", {}),
        BenchmarkRow("limit", "limit", {}),
        BenchmarkRow("broken", "keras_fit", {}),
    ]
    results = [
        reports_of(4000, 1000, 9000, loss=250.04),
        # The ratios are 4, 1/3 and 3; the ratio of the medians would be 4/3.
        reports_of(1000, 3000, 3000),
        reports_of(500),
        reports_of(8000, 2000, 18000, flops=2e6),
        "failed: no disk",
    ]
    rows = table_rows(turns.comparison_table(given, results))
    assert rows["ours"] == ["4,000", "1,000", "9,000", "", "250.0", ""]
    assert rows["peer"] == ["3,000", "1,000", "3,000", "3.00", "", "judged 3.0"]
    assert rows["slow"] == ["500", "500", "500", "8.00", "", "one run"]
    assert rows["limit"][3:] == ["0.50", "", "16 GFLOP/s at 2.00 MFLOP per image"]
    assert rows["broken"] == [*[""] * 5, "failed: no disk"]


def test_without_our_figures_there_are_no_ratios():
    given = [BenchmarkRow("ours", "ours", {}), BenchmarkRow("peer", "keras_fit", {})]
    results = ["failed: at once", [{"images": 10, "seconds": 1.0}]]
    rows = table_rows(turns.comparison_table(given, results))
    assert rows["ours"] == [*[""] * 5, "failed: at once"]
    assert rows["peer"] == ["10", "10", "10", "", "", "one run"]


def test_a_failed_training_task_fails_only_its_own_row():
    given = [
        BenchmarkRow("failing", "ours", {"no_such": 1}),
        BenchmarkRow("skipped", "torch_loop", {}, missing="skipped: not installed"),
    ]
    failed, skipped = turns.measure(given, 1)
    assert failed.startswith("failed: TypeError")
    assert skipped == "skipped: not installed"


def test_the_limit_is_the_matmul_rate_divided_by_the_operations_per_image():
    report = training.limit("mlp")
    assert report["flops"] == 2_417_664
    assert 1e9 < report["images"] / report["seconds"] * report["flops"] < 1e15


def test_a_preset_reports_its_operations_and_the_limit(examples_dir, example_set):
    report = TASKS["preset"](examples=str(examples_dir), preset="mlp", seconds=0)
    assert report["images"] == example_set.num_examples("train")
    assert report["flops"] == 2_417_664
    assert report["precision"] == "float32"
    assert 1e9 < report["limit"] < 1e15


def test_a_presets_share_is_the_median_of_its_turns():
    reports = [
        {"images": 100, "seconds": seconds, "flops": 5e9, "limit": limit, "precision": "bfloat16"}
        for seconds, limit in ((1.0, 1e12), (2.0, 1e12), (1.0, 2e12))
    ]
    line = train._share_line("`x`", reports, target=0.45)
    # The shares are 0.5, 0.25 and 0.25; the medians of rate and limit have the ratio 0.5.
    remark = "bfloat16, 5,000.00 MFLOP per image; target >= 0.45 of the limit: missed"
    assert line == ["`x`", "100", "500", "1,000", "0.25", remark]
    assert train._share_line("`x`", "failed: no disk", target=0.45)[-1] == "failed: no disk"


def test_every_preset_has_a_row_on_images_that_it_is_for(inputs, monkeypatch):
    measured = []

    def report(rows, repeats):
        measured.extend(rows)
        return ["not measured"] * len(rows)

    monkeypatch.setattr(train, "measure", report)
    monkeypatch.setattr(train, "preset_names", lambda: ["color", "keras_conv", "mlp"])
    text = train.presets(inputs, 0.0)
    assert list(table_rows(text))[2:] == ["`color`", "`keras_conv`", "`mlp`"]
    shapes = [PreparedDataset.open(row.arguments["examples"]).image_shape for row in measured]
    assert shapes == [(64, 64, 3), (28, 28, 1), (28, 28, 1)]


def test_the_train_command_measures_the_first_call(measured_rows):
    rows = measured_rows("benchmarks.train", "start", images=600)
    assert {"CPU", "sizes"} <= rows.keys()
    assert "keras 3" in rows["Python"][0]
    seconds, lowest, highest, remark = rows["`python -m trainer`, with the first call of steps"]
    assert 0 < float(lowest) == float(seconds) == float(highest)
    assert remark.startswith("target <= 8 s")


# --- embed ----------------------------------------------------------------------------------------


def test_every_way_of_embedding_handles_all_images(examples_dir, example_set, model_dir, tmp_path):
    places = {"examples": str(examples_dir), "model": str(model_dir)}
    ours = embedding.embed_ours(
        **places, columns=["id", "rate", "outlier_score"], output=str(tmp_path / "ours")
    )
    assert ours["images"] == example_set.counts.kept
    # The peers read the training images only.
    train = example_set.num_examples("train")
    assert embedding.keras_predict(**places)["images"] == train
    (tmp_path / "beam").mkdir()
    assert embedding.run_inference(**places, output=str(tmp_path / "beam"))["images"] == train


def test_the_embed_command_compares_peers_with_ours(monkeypatch, tmp_path):
    rates = {"ours, the encoder": 200_000, "Keras `predict`, in memory": 100_000}
    monkeypatch.setattr(
        embed,
        "measure",
        lambda rows, repeats: [
            [{"images": rates.get(row.name, 50_000), "seconds": 1.0}] * repeats for row in rows
        ],
    )
    monkeypatch.setattr(BenchmarkInputs, "shards", "shards")
    monkeypatch.setattr(BenchmarkInputs, "model", lambda self, preset: preset)
    inputs = BenchmarkInputs(tmp_path, 600, 2, str(tmp_path))
    text = embed.mlp(inputs)
    assert "target >= 150,000 images/s: met" in text
    rows = table_rows(text)
    assert rows["Keras `predict`, in memory"][3] == "2.00"
    assert "target >= 1.3 times this: met" in embed.conv(inputs)


# --- curves ---------------------------------------------------------------------------------------


def test_the_curves_of_a_model_are_drawn_against_its_training_flops(cli, model_dir, tmp_path):
    path = tmp_path / "curves.png"
    done = cli(
        "benchmarks.curves",
        model_dir,
        f"ours={model_dir}",
        "--output",
        path,
        "--point",
        "a paper:1e9:99.5",
    )
    assert done.returncode == 0, done.stderr
    with Image.open(path) as image:
        assert image.width > 500
    curve = read_curve(f"ours={model_dir}")
    assert curve.name == "ours"
    model = vae.load(model_dir / "model.keras")
    per_example = costs.count(model.architecture, Elbo())
    examples = np.divide(curve.flops, per_example.training_flops)
    assert list(examples) == sorted(examples)
    assert all(number % 1 == pytest.approx(0, abs=1e-6) for number in examples)


@pytest.mark.parametrize("point", ["a paper", "a paper:1e9", "a paper:many:2"])
def test_a_malformed_point_is_refused(cli, tmp_path, point):
    done = cli("benchmarks.curves", "model", "--output", tmp_path / "x.png", "--point", point)
    assert done.returncode == 2
    assert "NAME:FLOPS:NATS" in done.stderr


# --- uses -----------------------------------------------------------------------------------------


def test_the_three_uses_are_drawn_in_one_picture(cli, examples_dir, model_dir, tmp_path):
    path = tmp_path / "uses.png"
    places = ("--examples", examples_dir, "--denoiser", model_dir, "--generator", model_dir)
    sizes = ("--size", "ours:2.5", "--size", "PNG:5")
    done = cli("benchmarks.uses", *places, *sizes, "--output", path)
    assert done.returncode == 0, done.stderr
    with Image.open(path) as image:
        assert image.width > 1500


def test_rows_of_noisy_images_are_above_the_same_images_denoised(examples_dir, model_dir):
    rows = uses.denoised(model_dir, examples_dir)
    clean = PreparedDataset.open(examples_dir).images("test")[0] / 255
    differences = rows - clean
    assert rows.shape == (6, 6, *clean.shape)
    # The first test image is the first of the picture.
    assert np.std(differences[0, 0]) > 0.1
    assert np.std(np.diff(rows[1, 0], axis=0)) < np.std(np.diff(rows[0, 0], axis=0))


@pytest.mark.parametrize("size", ["PNG", "PNG:small"])
def test_a_malformed_size_is_refused(cli, size):
    done = cli("benchmarks.uses", "--size", size)
    assert done.returncode == 2
    assert "NAME:BITS" in done.stderr


# --- compress -------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_every_image_format_gives_the_pixels_back(channels):
    image = np.random.default_rng(0).integers(0, 256, (5, 7, channels)).astype(np.uint8)
    for write, read in image_formats.codecs().values():
        decoded = read(write(image))
        data = decoded if isinstance(decoded, bytes) else decoded.tobytes()
        found = np.frombuffer(data, np.uint8)
        # WebP has no gray images: it gives three equal channels back.
        assert (found.reshape(5, 7, -1)[..., :channels] == image).all()


def test_a_sheet_holds_every_image():
    images = np.arange(5 * 2 * 3, dtype=np.uint8).reshape(5, 2, 3, 1)
    sheet = image_formats.sheet(images)
    assert sheet.shape == (4, 9, 1)
    assert (sheet[2:, 3:6] == images[4]).all()
    assert {size.name for size in image_formats.peers(images)} >= {"PNG, optimized of one sheet"}


def test_a_figure_from_elsewhere_has_a_name_and_bits():
    assert Bar.parse("BB-ANS: 2019:3.66", "--point").bits == 3.66
    with pytest.raises(ConfigError, match="NAME:BITS"):
        Bar.parse("BB-ANS", "--point")


# --- scale ----------------------------------------------------------------------------------------


def test_the_scale_command_simulates_and_extends(cli):
    done = cli("benchmarks.scale", "--images", 30_000, 120_000, "--planned", 9_000)
    assert done.returncode == 0, done.stderr
    rows = table_rows(done.stdout)
    slices, shards, *_, calls, memory = rows["120,000"]
    assert (slices, shards) == ("15", "2")  # One of each split.
    assert int(calls.replace(",", "")) > 15
    assert int(memory) > 50
    assert rows["1,000,000,000, extended"][0] == "122,071"
    assert float(rows["9,000"][0]) >= 0


def test_growth_is_extended_as_a_power_of_the_number_of_images():
    def simulated(seconds: float, calls: int, memory: int) -> dict:
        return {
            "cpu_seconds": {"reading": seconds, "planning": 3.0},
            "calls": {"reading": calls},
            "bytes": memory,
        }

    reports = [simulated(1.0, 100, 500), simulated(10.0, 10_000, 500)]
    extended = scale.extended([10**6, 10**7], reports, 10**9)
    # As the number of images, not at all, as its square, and not at all.
    assert extended["cpu_seconds"] == {
        "reading": pytest.approx(1000.0),
        "planning": pytest.approx(3.0),
    }
    assert extended["calls"] == {"reading": 10_000 * 100**2}
    assert extended["bytes"] == 500
    assert extended["shards"] == 5842
