import dataclasses

from components.base.earlier_versions import with_earlier, without_earlier
from components.base.manifest import identity
from components.model.architecture import Architecture
from pipeline.evaluate.config import EvaluateConfig
from trainer.config import TrainConfig


def test_a_missing_setting_has_the_value_that_does_what_the_earlier_version_did():
    earlier = with_earlier("train", {"latents": 2})
    assert (earlier["latents"], earlier["warmup_share"]) == (2, 1.0)
    now = {**earlier, "latents": 2, "warmup_share": 0.1}
    assert with_earlier("train", now) == now
    assert with_earlier("prepare", {"dataset": "x"}) == {"dataset": "x"}


def test_earlier_models_are_those_of_the_defaults():
    """The share of the warm-up is the one default that changed what a run does."""
    earlier = with_earlier("train", {}) | {"warmup_share": 0.1}
    assert earlier.pop("prior_components") == 100
    settings = dataclasses.asdict(TrainConfig())
    assert earlier.items() <= settings.items()
    defaults = {
        field.name
        for field in dataclasses.fields(Architecture)
        if field.default is not dataclasses.MISSING
    }
    assert defaults - {"classes"} <= earlier.keys()


def test_earlier_evaluations_are_those_of_the_defaults_with_fewer_metrics():
    earlier, now = with_earlier("evaluate", {}), dataclasses.asdict(EvaluateConfig())
    assert set(earlier.pop("metrics")) < set(now["metrics"])
    assert earlier.items() <= now.items()


def test_a_setting_that_does_what_the_earlier_version_did_may_be_left_out():
    assert without_earlier("train", {"latents": 2, "warmup_share": 1.0}) == {"latents": 2}
    assert without_earlier("train", {"latents": 2, "prior_components": 100}) == {"latents": 2}
    now = {"latents": 2, "warmup_share": 0.1}
    assert without_earlier("train", now) == now
    assert without_earlier("prepare", {"warmup_share": 1.0}) == {"warmup_share": 1.0}


def test_the_identity_of_an_earlier_artifact_is_that_of_the_same_work_now():
    def of(**config):
        return identity(stage="train", config=config, fingerprints={"examples": "0" * 64})

    assert of(latents=2) == of(latents=2, warmup_share=1.0)
    assert of(latents=2) != of(latents=2, warmup_share=0.1)
    # A setting that this version does not have.
    assert of(latents=2) == of(latents=2, prior_components=100)
    assert of(latents=2) != of(latents=2, prior_components=50)
