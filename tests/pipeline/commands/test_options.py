import argparse

import pytest

from components.base.errors import ConfigError
from pipeline.commands import options
from pipeline.evaluate.gates import Gate


def parsed(add, *arguments: str) -> dict:
    parser = argparse.ArgumentParser()
    add(parser)
    return vars(parser.parse_args(arguments))


def test_the_options_of_a_source_say_how_to_read_it_and_nothing_else():
    values = parsed(options.add_source_options, "--synthetic_size", "600", "--data_dir", "~")
    values |= {"input": "photos", "beam_args": [], "model": "m"}
    arguments = options.apply_arguments(values)
    source_options = arguments.pop("source_options")
    assert source_options["synthetic_size"] == 600
    assert set(source_options) == {"synthetic_size", "data_dir"}
    assert arguments == {"pattern": "photos", "beam_args": [], "model": "m"}


def test_the_settings_of_a_dataset_are_taken_out_of_the_values():
    values = {"dataset": "synthetic_garments", "synthetic_size": "600", "latents": "3"}
    config = options.prepare_config(values)
    assert (config.dataset, config.synthetic_size) == ("synthetic_garments", 600)
    assert values == {"latents": "3"}


def test_a_setting_of_the_source_that_is_not_valid_is_refused():
    with pytest.raises(ConfigError, match="synthetic_size in the command line must be a whole"):
        options.apply_arguments({"input": "x", "beam_args": [], "synthetic_size": "many"})


def test_requirements_are_taken_out_of_the_values():
    values = parsed(options.add_requirements, "--gate", "elbo>=-240", "--gate", "fid<9", "--strict")
    values["output"] = "x"
    requirements = options.requirements(values, ["elbo", "fid"])
    assert requirements.gates == [Gate("elbo", ">=", -240), Gate("fid", "<", 9)]
    assert requirements.is_strict
    assert values == {"output": "x"}


def test_beam_options_are_checked_before_anything_starts():
    options.check_beam_options([])
    options.check_beam_options(["--runner=FlinkRunner"])
    with pytest.raises(ConfigError, match="unknown Beam option '--runer'"):
        options.check_beam_options(["--runer=FlinkRunner"])
