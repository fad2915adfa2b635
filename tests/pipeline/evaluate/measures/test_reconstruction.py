import numpy as np

from components.metrics import psnr
from components.metrics.mean import Mean
from pipeline.evaluate.measures.reconstruction import ReconstructionMeasure


def test_all_examples_are_reconstructed(subject):
    scored = subject(limit_examples=20)
    measured = ReconstructionMeasure().measure(scored)
    expected = psnr.psnr(scored.model, scored.examples.images, rows=np.arange(20))
    np.testing.assert_array_equal(measured.by_example["psnr"], expected)
    assert measured.means["psnr"] == Mean.of(expected)
    assert measured.protocol == {"psnr_examples": 20}


def test_examples_that_are_left_out_have_no_value(subject, monkeypatch, capsys):
    monkeypatch.setattr(psnr, "_MAX_TURNS", 5)
    measured = ReconstructionMeasure().measure(subject(limit_examples=20))
    is_left_out = np.isnan(measured.by_example["psnr"])
    assert np.flatnonzero(~is_left_out).tolist() == [0, 4, 8, 12, 16]
    assert measured.means["psnr"] == Mean.of(measured.by_example["psnr"][~is_left_out])
    assert measured.protocol == {"psnr_examples": 5}
    assert capsys.readouterr().err == "evaluate: reconstructing 5 examples\n"
