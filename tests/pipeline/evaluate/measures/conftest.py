"""A subject of measures: the session's model on the session's examples."""

from collections.abc import Callable

import pytest
from etils import epath

from components.base.manifest import load_artifact
from components.model import vae
from pipeline.evaluate import stage
from pipeline.evaluate.config import EvaluateConfig
from pipeline.evaluate.measures.measure import Subject


@pytest.fixture(scope="session")
def tables(model_dir, example_set, tmp_path_factory) -> dict[str, list[epath.Path]]:
    """The embeddings of the session's examples."""
    directory = epath.Path(tmp_path_factory.mktemp("tables"))
    return stage._embed(example_set, load_artifact(model_dir, stage="train"), directory)


@pytest.fixture
def subject(model_dir, example_set, tables, tmp_path) -> Callable[..., Subject]:
    """Returns a function that makes a subject of all test examples, with settings."""

    def make(**settings) -> Subject:
        config = EvaluateConfig(**settings)
        examples = example_set.read("test")
        return Subject(
            model=vae.load(model_dir / "model.keras"),
            dataset=example_set,
            split="test",
            examples=examples.part(0, config.limit_examples or len(examples)),
            tables=tables,
            config=config,
            directory=epath.Path(tmp_path),
        )

    return make
