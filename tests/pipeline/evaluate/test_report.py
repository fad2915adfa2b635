import dataclasses

from etils import epath

from components.base.manifest import Artifact, Manifest
from pipeline.evaluate import report
from pipeline.evaluate.scores import ScoringProtocol
from tests.pipeline.evaluate.test_scores import SCORES
from trainer.recording.epoch_metrics import EpochMetrics
from trainer.train_counts import TrainCounts

EPOCH = EpochMetrics(1, 90, {"loss": 30.0}, None, learning_rate=0.001, beta=1.0)
COUNTS = TrainCounts(
    parameters=5678,
    steps=90,
    precision="float32",
    devices=["GPU", "GPU"],
    hosts=1,
    kept=EPOCH,
    final=EPOCH,
)


def render(*notes: str, dataset: str = "cats", scores=SCORES, without=()) -> str:
    scores = dataclasses.replace(scores, dataset=dataset)
    manifest = Manifest(1, "train", {"latents": 2}, {}, {}, COUNTS.as_json(), [])
    return report.render(scores, Artifact(epath.Path("model"), manifest), notes, without=without)


def test_scores_and_settings_are_shown():
    page = render()
    for part in ("-30.00", "-30.50 to -29.50", "5,678 parameters", "1,234 test", "2 x GPU"):
        assert part in page
    psnr = '<td class="number">18.50<td class="number">18.38 to 18.62<td>dB'
    assert f"<tr><td>PSNR of reconstructions{psnr}" in page
    assert "334 evenly spaced examples for the PSNR" in page
    accuracy = '<td class="number">0.8750<td class="number">0.8438 to 0.9062<td>fraction of labels'
    assert f"<tr><td>accuracy of the nearest neighbors{accuracy}" in page
    assert "7 nearest neighbors among the embeddings, fitted on train, k chosen on" in page
    assert "<tr><td>latents<td>2" in page


def test_texts_are_escaped():
    page = render("drawn & not real", dataset="a<b")
    assert "a&lt;b" in page
    assert "a<b" not in page
    assert '<p class="note">drawn &amp; not real</p>' in page


def test_notes_are_shown_if_there_are_any():
    assert 'class="note">' in render("a note")
    assert 'class="note">' not in render()


def test_what_a_conditional_model_is_given_is_said():
    of_labels = dataclasses.replace(SCORES, protocol=ScoringProtocol(given="label"))
    assert "the label of every example given" in render(scores=of_labels)
    assert "given" not in render()


def test_a_figure_that_does_not_exist_is_not_shown():
    name = "figures/neighbors_of_samples.png"
    assert name in render()
    assert name not in render(without=["neighbors_of_samples"])
