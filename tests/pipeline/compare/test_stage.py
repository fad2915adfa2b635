"""Two real runs, compared."""

import json
import re
import shutil

import numpy as np
import pytest

from components.base.errors import ConfigError, WorkError
from components.metrics.mean import Mean
from pipeline.compare.stage import compare
from pipeline.evaluate import example_scores
from pipeline.evaluate.config import EvaluateConfig
from pipeline.evaluate.stage import evaluate
from tests.conftest import tiny_train_config
from trainer import stage


@pytest.fixture(scope="module")
def runs(examples_dir, model_dir, tmp_path_factory):
    """The directories of two runs on the same images."""
    root = tmp_path_factory.mktemp("runs")
    shutil.copytree(model_dir, root / "narrow" / "model")
    config = tiny_train_config(widths=(24,), epochs=3)
    stage.run("mlp", config, examples=examples_dir, output=root / "wide" / "model")
    for name in ("narrow", "wide"):
        evaluate(
            EvaluateConfig(draws=1),
            examples=examples_dir,
            model=root / name / "model",
            output=root / name / "evaluation",
        )
    return [str(root / "narrow"), str(root / "wide")]


def test_runs_are_compared_on_a_page_in_a_table_and_as_json(runs, tmp_path, capsys):
    output = tmp_path / "comparison"
    artifact = compare(runs, output=output)
    shown = capsys.readouterr().out
    value = json.loads((output / "comparison.json").read_text())
    assert artifact.manifest.counts == value
    assert value["settings"] == {"epochs": ["2", "3"], "widths": ["16", "24"]}
    assert value["notes"] == []
    elbo = value["metrics"]["elbo"]
    first, other = (example_scores.read(evaluate_artifact(run)).by_name for run in runs)
    expected = Mean.of(other["elbo"] - first["elbo"])
    assert elbo["differences"] == [
        None,
        {
            "mean": pytest.approx(expected.value),
            "half_width_95": pytest.approx(expected.half_width),
            "is_paired": True,
        },
    ]
    assert expected.half_width < elbo["means"][0]["half_width_95"] / 2
    for name, metric in value["metrics"].items():
        assert metric["differences"][1]["is_paired"] == (name in first), name
    assert shown == (output / "comparison.txt").read_text()
    assert re.search(
        r"\n  wide +-\d+\.\d\d ± \d+\.\d\d  \+\d+\.\d\d ± \d+\.\d\d \* \(paired\)\n", shown
    )
    page = (output / "comparison.html").read_text()
    # The curves, and the samples and reconstructions of two runs: nothing outside the page.
    assert page.count("data:image/png;base64,") == 5
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "<h1>narrow · wide</h1>" in page
    # Again: nothing is done, but the table is shown.
    compare(runs, output=output)
    again = capsys.readouterr()
    assert again.err == f"compare: up to date ({output})\n"
    assert again.out == shown
    with pytest.raises(ConfigError, match=r"holds a different artifact: .*runs is "):
        compare(runs[::-1], output=output)


def evaluate_artifact(run):
    from components.base.manifest import load_artifact

    return load_artifact(f"{run}/evaluation", stage="evaluate")


def test_the_example_scores_are_those_of_the_metrics(runs, example_set):
    artifact = evaluate_artifact(runs[0])
    scores = example_scores.read(artifact)
    assert list(scores.ids) == example_set.read("test").ids
    metrics = json.loads((artifact.path / "metrics.json").read_text())
    for name, values in scores.by_name.items():
        assert metrics[name]["mean"] == pytest.approx(np.nanmean(values)), name
    assert {"elbo", "rate", "distortion", "psnr", "knn_accuracy"} <= scores.by_name.keys()


def test_an_evaluation_of_another_model_is_refused(runs, tmp_path):
    mixed = tmp_path / "mixed"
    shutil.copytree(f"{runs[0]}/model", mixed / "model")
    shutil.copytree(f"{runs[1]}/evaluation", mixed / "evaluation")
    with pytest.raises(ConfigError, match="is the evaluation of another model than"):
        compare([runs[0], str(mixed)], output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["example_scores.parquet", "figures/samples.png"])
def test_a_damaged_file_of_a_run_is_one_line(runs, tmp_path, name):
    copy = tmp_path / "copy"
    shutil.copytree(runs[1], copy)
    path = copy / "evaluation" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(WorkError, match=f"{path} is damaged or belongs to another run"):
        compare([runs[0], str(copy)], output=tmp_path / "out")
    assert not (tmp_path / "out").exists()
