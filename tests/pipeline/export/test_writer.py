import numpy as np
import pytest
from etils import epath

from components.base.errors import WorkError
from pipeline.export import writer
from pipeline.export.config import ExportConfig
from pipeline.export.writer import ExportedFile, table, write
from tests.components.model.test_vae import make
from tests.pipeline.export.exported_models import made

EXTRA = ("onnxruntime", "tf2onnx", "ai_edge_litert")


@pytest.fixture
def quick(monkeypatch):
    """Measures no latencies, which take a second each."""
    monkeypatch.setattr(writer, "latency", lambda call: call() and 1.5)


def test_all_signatures_and_networks_are_written_and_compared(quick, tmp_path, capfd):
    model = made("conditional, at once")
    exported = write(ExportConfig(), model, epath.Path(tmp_path), "the card")
    signatures = ("encode", "encode_bytes", "decode", "reconstruct", "sample", "score")
    names = [f"saved_model/1 {name}" for name in signatures]
    assert [each.name for each in exported] == [*names, "encoder.keras", "decoder.keras"]
    assert all(0 <= each.difference <= 1e-5 for each in exported)
    assert all(each.latencies == (1.5, 1.5) for each in exported)
    assert exported[-1].bytes == (tmp_path / "decoder.keras").stat().st_size
    files = [path for path in (tmp_path / "saved_model").rglob("*") if path.is_file()]
    assert exported[0].bytes == sum(path.stat().st_size for path in files)
    assert (tmp_path / "saved_model/1/assets/model_card.md").read_text() == "the card"
    # Nothing of the libraries' messages.
    assert set(capfd.readouterr().err.splitlines()) == {
        "export: writing saved_model/1",
        "export: writing encoder.keras and decoder.keras",
    }


def test_every_format_of_the_extra_is_written_and_compared(quick, tmp_path, capfd):
    for module in EXTRA:
        pytest.importorskip(module, reason="the extra `export` is not installed")
    config = ExportConfig(formats="litert,onnx")
    exported = write(config, made("first"), epath.Path(tmp_path), "the card")
    files = [path.name for path in tmp_path.iterdir() if path.is_file()]
    portable = ["encoder.onnx", "decoder.onnx", "encoder.tflite", "decoder.tflite"]
    assert sorted(files) == sorted(portable)
    assert [each.name for each in exported[6:]] == portable
    assert all(line.startswith("export: ") for line in capfd.readouterr().err.splitlines())


def test_a_decoder_in_turns_is_left_out_in_one_line(quick, tmp_path, capfd):
    pytest.importorskip("ai_edge_litert", reason="the extra `export` is not installed")
    model = make(head="causal")
    write(ExportConfig(formats="litert"), model, epath.Path(tmp_path), "the card")
    assert not (tmp_path / "decoder.tflite").exists()
    assert (
        "export: no decoder in litert, because the causal head decodes the pixels of an image "
        "in turn; the SavedModel has it\n"
    ) in capfd.readouterr().err


@pytest.mark.parametrize("damaged", ["encoder", "decoder"])
def test_a_file_that_computes_something_else_is_an_error(damaged, quick, tmp_path, monkeypatch):
    build = getattr(writer, f"plain_{damaged}")

    def slightly_wrong(vae):
        network = build(vae)
        kernel = max(network.weights, key=lambda weight: len(weight.shape))
        kernel.assign(np.array(kernel) * 1.001)
        return network

    monkeypatch.setattr(writer, f"plain_{damaged}", slightly_wrong)
    message = f"{damaged}.keras differs from the .*, more than 1e-05, so nothing is published"
    with pytest.raises(WorkError, match=message):
        write(ExportConfig(), made("first"), epath.Path(tmp_path), "the card")


def test_a_saved_model_that_computes_something_else_is_an_error(quick, tmp_path, monkeypatch):
    save = writer.ServedModel.save

    def save_another(served, directory, signatures, **options):
        other = writer.ServedModel(made("first"))
        weights = other._vae.get_weights()
        other._vae.set_weights([weight * 1.01 for weight in weights])
        save(other, directory, other.signatures, **options)

    monkeypatch.setattr(writer.ServedModel, "save", save_another)
    with pytest.raises(WorkError, match=r"saved_model/1 encode differs from the trained model"):
        write(ExportConfig(), made("first"), epath.Path(tmp_path), "the card")


def test_the_table_has_sizes_differences_and_latencies():
    exported = [
        ExportedFile("saved_model/1 encode", 1_234_567, 0.0, (0.5, 12.25)),
        ExportedFile("encoder.onnx", 900, 3.2e-7, (0.125, 1500)),
    ]
    assert table(exported).splitlines() == [
        "                          size  difference  1 image   32 images",
        "saved_model/1 encode  1,235 kB       0e+00  0.50 ms    12.25 ms",
        "encoder.onnx              1 kB       3e-07  0.12 ms  1500.00 ms",
    ]
