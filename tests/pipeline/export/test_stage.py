import importlib.util
import json
import shutil

import pytest

from components.base.errors import ConfigError, WorkError
from components.base.manifest import load_artifact
from pipeline.export import extra
from pipeline.export.config import ExportConfig
from pipeline.export.stage import export
from tests.pipeline.export.exported_models import plain_process


@pytest.fixture(scope="module")
def exported(model_dir, tmp_path_factory):
    """An export of the session's model."""
    directory = tmp_path_factory.mktemp("exported") / "export"
    export(ExportConfig(), model=model_dir, output=directory)
    return directory


def test_an_export_is_an_artifact_with_all_of_its_files(exported, model_dir):
    artifact = load_artifact(exported, stage="export")
    artifact.check_content()
    trained = load_artifact(model_dir, stage="train")
    assert artifact.manifest.config == {"formats": ["keras"], "background": "black"}
    assert artifact.manifest.inputs["model"].fingerprint == trained.fingerprint
    assert artifact.manifest.notes == trained.manifest.notes
    assert max(artifact.manifest.counts["differences"].values()) < 1e-5
    expected = {"encoder.keras", "decoder.keras"} | {
        f"saved_model/1/{name}"
        for name in ("saved_model.pb", "fingerprint.pb", "assets/model_card.md")
    }
    assert expected < set(artifact.manifest.outputs)


def test_the_card_names_the_dataset(exported, example_set):
    card = (exported / "saved_model/1/assets/model_card.md").read_text()
    assert "trained on `synthetic_garments`" in card
    assert "534 in train" in card


def test_a_dataset_that_is_gone_is_missing_in_the_card_alone(model_dir, tmp_path):
    # The path of the dataset in the manifest is relative, and leads nowhere from here.
    shutil.copytree(model_dir, tmp_path / "moved/to/another/model")
    config = ExportConfig(formats="")
    export(config, model=tmp_path / "moved/to/another/model", output=tmp_path / "out")
    card = (tmp_path / "out/saved_model/1/assets/model_card.md").read_text()
    assert "trained on a dataset that was not there" in card


def test_a_second_export_is_up_to_date(exported, model_dir, capsys):
    before = (exported / "manifest.json").read_bytes()
    export(ExportConfig(), model=model_dir, output=exported, verify=True)
    assert capsys.readouterr().err == f"export: up to date ({exported})\n"
    assert (exported / "manifest.json").read_bytes() == before


def test_another_export_is_not_replaced(exported, model_dir):
    with pytest.raises(ConfigError, match="background is black, not the requested white; choose"):
        export(ExportConfig(background="white"), model=model_dir, output=exported)


def test_a_damaged_export_is_found_and_replaced(exported, model_dir, tmp_path):
    output = tmp_path / "export"
    shutil.copytree(exported, output)
    data = bytearray((output / "decoder.keras").read_bytes())
    data[len(data) // 2] ^= 1
    (output / "decoder.keras").write_bytes(data)
    with pytest.raises(WorkError, match=r"decoder\.keras"):
        export(ExportConfig(), model=model_dir, output=output, verify=True)
    export(ExportConfig(), model=model_dir, output=output, overwrite=True)
    load_artifact(output, stage="export").check_content()


def test_a_file_that_differs_publishes_nothing(model_dir, tmp_path, monkeypatch):
    from pipeline.export import writer

    monkeypatch.setattr(writer, "relative_difference", lambda found, expected: 1e-3)
    with pytest.raises(WorkError, match="so nothing is published"):
        export(ExportConfig(), model=model_dir, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_extra_is_found_before_any_work(model_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(extra.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install onnx onnxruntime tf2onnx"):
        export(ExportConfig(formats="onnx"), model=model_dir, output=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_is_not_finished_is_an_error(model_dir, examples_dir, tmp_path):
    shutil.copytree(model_dir, tmp_path / "model")
    (tmp_path / "model/manifest.json").unlink()
    with pytest.raises(ConfigError, match="is not a finished artifact"):
        export(ExportConfig(), model=tmp_path / "model", output=tmp_path / "out")
    with pytest.raises(ConfigError, match="was made by the prepare stage"):
        export(ExportConfig(), model=examples_dir, output=tmp_path / "out")


def test_a_model_with_a_wrong_digest_is_an_error(model_dir, tmp_path):
    shutil.copytree(model_dir, tmp_path / "model")
    path = tmp_path / "model/model.keras"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(WorkError, match=r"model\.keras"):
        export(ExportConfig(), model=tmp_path / "model", output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_dataset_with_another_background_is_a_warning(exported, model_dir, tmp_path, capsys):
    output = tmp_path / "white"
    export(ExportConfig(formats="", background="white"), model=model_dir, output=output)
    assert "was prepared with black; use --background black" in capsys.readouterr().err


def test_the_manifest_says_that_files_of_libraries_may_differ(exported, model_dir, tmp_path):
    again = export(ExportConfig(), model=model_dir, output=tmp_path / "export")
    assert again.fingerprint == load_artifact(exported, stage="export").fingerprint


def test_a_plain_process_runs_the_example_of_the_docs(exported, tmp_path):
    (tmp_path / "runs/demo").mkdir(parents=True)
    (tmp_path / "runs/demo/export").symlink_to(exported)
    from PIL import Image

    from tests.conftest import ROOT

    Image.new("RGB", (40, 30), "red").save(tmp_path / "image.png")
    text = (ROOT / "docs/export.md").read_text()
    example = text.split("```python\n")[1].split("```")[0]
    done = plain_process(f"{example}\nassert mean.shape == (1, 2)\n", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("# A variational autoencoder, preset `mlp`")


def test_the_examples_of_the_extra_run_with_its_packages(model_dir, tmp_path):
    for module in ("onnxruntime", "tf2onnx", "ai_edge_litert"):
        pytest.importorskip(module, reason="the extra `export` is not installed")
    from tests.conftest import ROOT

    config = ExportConfig(formats="onnx,litert")
    export(config, model=model_dir, output=tmp_path / "runs/demo/portable")
    text = (ROOT / "docs/export.md").read_text()
    example = text.split("```python\n")[2].split("```")[0]
    example = example.replace("runs/demo", str(tmp_path / "runs/demo"))
    values: dict = {}
    exec(example, values)
    assert values["mean"].shape == (2, 2)
    manifest = json.loads((tmp_path / "runs/demo/portable/manifest.json").read_text())
    assert len(manifest["counts"]["differences"]) == 10
    assert importlib.util.find_spec("onnx") is not None
