import dataclasses
import shlex

from components.base.config import from_mapping
from components.base.manifest import InputRecord, load_artifact
from pipeline.evaluate.config import EvaluateConfig
from pipeline.evaluate.report import commands
from trainer.config import load_config

CONFIG = EvaluateConfig(draws=7, figure_format=("png", "svg"), titles=False)


def repeated(example_set, model_dir, **model_config) -> list[list[str]]:
    """The words of each command."""
    examples, trained = example_set.artifact, load_artifact(model_dir, stage="train")
    config = {**trained.manifest.config, **model_config}
    manifest = dataclasses.replace(trained.manifest, config=config)
    trained = dataclasses.replace(trained, manifest=manifest)
    text = commands.repeat_commands(examples, trained, CONFIG, output="runs/it's/evaluation")
    parts = text.replace("\\\n", " ").split("\n")
    return [shlex.split(part) for part in parts]


def options(words: list[str]) -> dict[str, str]:
    return dict(zip((word.removeprefix("--") for word in words[::2]), words[1::2], strict=True))


def test_the_commands_have_the_settings_of_the_run(example_set, model_dir):
    prepare, train, evaluate = repeated(example_set, model_dir)
    assert prepare[:4] == ["python", "-m", "pipeline", "prepare"]
    assert options(prepare[4:])["dataset"] == "synthetic_garments"
    assert options(prepare[4:])["synthetic_size"] == "600"
    assert train[:3] == ["python", "-m", "trainer"]
    given = options(train[3:])
    assert given.pop("examples") == str(example_set.path)
    assert given.pop("output") == str(model_dir)
    config = load_artifact(model_dir, stage="train").manifest.config
    again = dataclasses.asdict(load_config(given.pop("preset"), overrides=given))
    assert {name: list(v) if isinstance(v, tuple) else v for name, v in again.items()} == {
        name: config[name] for name in again
    }
    assert evaluate[:4] == ["python", "-m", "pipeline", "evaluate"]
    assert "--no_titles" in evaluate
    evaluate.remove("--no_titles")
    given = options(evaluate[4:])
    assert given.pop("output") == "runs/it's/evaluation"
    del given["examples"], given["model"]
    assert from_mapping(EvaluateConfig, {**given, "titles": False}, where="a test") == CONFIG


def test_a_preset_of_another_version_is_written_out(example_set, model_dir):
    _, train, _ = repeated(example_set, model_dir, preset="older", unknown=3)
    assert "--preset" not in train
    assert "--unknown" not in train
    assert options(train[3:])["epochs"] == "2"


def test_examples_from_a_file_are_not_prepared_again(example_set, model_dir):
    source = {"source": InputRecord("abc", "../data.npz")}
    manifest = dataclasses.replace(example_set.artifact.manifest, inputs=source)
    artifact = dataclasses.replace(example_set.artifact, manifest=manifest)
    dataset = dataclasses.replace(example_set, artifact=artifact)
    assert len(repeated(dataset, model_dir)) == 2
