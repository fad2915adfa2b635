import pytest

RUN = ("--run", "unused")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ((*RUN, "--dataset", "fashion_mist"), ("unknown dataset", "nearest: fashion_mnist")),
        ((*RUN, "--preset", "convv"), ("unknown preset 'convv'", "nearest: conv")),
        ((*RUN, "--latens", "3"), ("unknown option '--latens'", "nearest: --latents")),
        ((*RUN, "--latents", "three"), ("latents", "must be a whole number", "'three'")),
        ((*RUN, "--validation_fraction", "1"), ("validation_fraction", "less than 1")),
        (
            (*RUN, "--dataset", "README.md", "LICENSE", "Makefile", "--latents", "3"),
            ("3 file names after --dataset: put the pattern in quotes",),
        ),
        ((*RUN, "--dataset", ""), ("--dataset: the path is empty",)),
        ((*RUN, "--data_dir", ""), ("--data_dir: the path is empty",)),
        ((*RUN, "--config", ""), ("--config: the path is empty",)),
        (("--run", ""), ("--run: the path is empty",)),
        ((*RUN, "--gate", "elbow>=1"), ("--gate 'elbow>=1': unknown metric", "nearest: elbo")),
        ((*RUN, "--gate", "elbo=>1"), ("--gate 'elbo=>1' is not a metric, one of >=, <=, >, <",)),
        ((*RUN, "--config", "~/none.yaml"), ("/none.yaml: No such file",)),
        ((*RUN, "--epochs", "1e300"), ("epochs", "must be a whole number", "'1e300'")),
        ((*RUN, "--batch_size", 10**30), ("batch_size", "must be a whole number below 2^63")),
        ((*RUN, "--synthetic_size", 10**18), ("synthetic_size must be at most",)),
        ((*RUN, "--", "--runer=FlinkRunner"), ("unknown Beam option '--runer'", "--runner")),
    ],
)
def test_mistakes_are_explained_in_one_line(mistake, arguments, parts):
    message = mistake("run", *arguments)
    for part in parts:
        assert part in message
