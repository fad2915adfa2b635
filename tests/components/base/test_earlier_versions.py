from components.base.earlier_versions import with_earlier, without_earlier
from components.base.manifest import identity


def test_a_missing_setting_has_the_value_that_does_what_the_earlier_version_did():
    assert with_earlier("train", {"latents": 2}) == {"latents": 2, "warmup_share": 1.0}
    now = {"latents": 2, "warmup_share": 0.1}
    assert with_earlier("train", now) == now
    assert with_earlier("prepare", {"dataset": "x"}) == {"dataset": "x"}


def test_a_setting_that_does_what_the_earlier_version_did_may_be_left_out():
    assert without_earlier("train", {"latents": 2, "warmup_share": 1.0}) == {"latents": 2}
    now = {"latents": 2, "warmup_share": 0.1}
    assert without_earlier("train", now) == now
    assert without_earlier("prepare", {"warmup_share": 1.0}) == {"warmup_share": 1.0}


def test_the_identity_of_an_earlier_artifact_is_that_of_the_same_work_now():
    def of(**config):
        return identity(stage="train", config=config, fingerprints={"examples": "0" * 64})

    assert of(latents=2) == of(latents=2, warmup_share=1.0)
    assert of(latents=2) != of(latents=2, warmup_share=0.1)
