from pipeline.evaluate.config import EvaluateConfig
from pipeline.run import run
from tests.conftest import tiny_prepare_config, tiny_train_config


def test_the_three_stages_run_once_and_are_skipped_the_second_time(tmp_path, capsys):
    def call(**fields) -> str:
        return run(
            tmp_path / "run",
            prepare_config=tiny_prepare_config(),
            preset="mlp",
            train_config=tiny_train_config(**fields),
            evaluate_config=EvaluateConfig(),
        )

    summary = call()
    stages = ("prepare", "train", "evaluate")
    assert all(line.startswith(s) for s, line in zip(stages, summary.splitlines(), strict=False))
    assert "synthetic_garments, preset mlp, test ELBO -" in summary
    assert f"report: {tmp_path / 'run/evaluation/report.html'}" in summary
    published = sorted(p.name for p in (tmp_path / "run").iterdir())
    assert published == ["evaluation", "examples", "model"]
    capsys.readouterr()
    assert call().splitlines()[-2:] == summary.splitlines()[-2:]
    messages = capsys.readouterr().err.splitlines()
    assert [line.split(" (")[0] for line in messages] == [f"{s}: up to date" for s in stages]
