"""Tables that the embed stage made of real images, made once per session."""

from pathlib import Path

import pytest

from components.model.embeddings import COLUMNS
from pipeline.embed.config import EmbedConfig
from pipeline.embed.stage import embed


@pytest.fixture(scope="session")
def embedded_dir(examples_dir, model_dir, tmp_path_factory) -> Path:
    """The tables of the test split of `examples_dir`, with all columns."""
    directory = tmp_path_factory.mktemp("embedded") / "embeddings"
    config = EmbedConfig(columns=",".join(COLUMNS))
    embed(config, model=model_dir, pattern=f"{examples_dir}/*test*", output=directory)
    return directory
