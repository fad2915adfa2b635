import pytest

from components.base.errors import ConfigError
from components.data import table_formats
from components.model import embeddings
from pipeline.embed import config
from pipeline.embed.config import EmbedConfig


def test_columns_and_formats_are_those_of_the_tables():
    assert config.COLUMNS == embeddings.COLUMNS
    assert tuple(table_formats.FORMATS) == config.FORMATS
    assert config.ENCODER_COLUMNS[-2:] == ("mean", "log_variance")


def test_columns_are_in_the_order_of_the_tables():
    assert EmbedConfig(columns="mean,id").column_names == ("id", "mean")
    assert EmbedConfig(columns="id, mean ,label").column_names == ("id", "label", "mean")
    assert EmbedConfig().column_names == embeddings.COLUMNS[:9]


def test_an_unknown_column_is_an_error_with_the_nearest_one():
    with pytest.raises(ConfigError, match=r"unknown column 'means' in columns; nearest: mean"):
        EmbedConfig(columns="id,means")


def test_npy_has_no_images():
    with pytest.raises(ConfigError, match="format npy has no column image"):
        EmbedConfig(columns="id,image", format="npy")
