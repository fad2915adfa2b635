"""TensorBoard's own back end, which reads a directory and answers as the server does."""

import json
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.plugins.base_plugin import TBContext, TBPlugin
from werkzeug.test import Client


def opened(plugin: type[TBPlugin], logdir: Path) -> TBPlugin:
    """A plugin of `tensorboard --logdir LOGDIR`."""
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(logdir))
    multiplexer.Reload()
    provider = MultiplexerDataProvider(multiplexer, str(logdir))
    return plugin(TBContext(data_provider=provider, logdir=str(logdir)))


def response(plugin: TBPlugin, route: str, **query: Any) -> bytes:
    """What a plugin answers to a request of its page."""
    answer = Client(plugin.get_plugin_apps()[route]).get("/", query_string=query)
    assert answer.status_code == 200, answer.text
    return answer.get_data()


def json_response(plugin: TBPlugin, route: str, **query: Any) -> Any:
    """The JSON value that a plugin answers to a request of its page."""
    return json.loads(response(plugin, route, **query))
