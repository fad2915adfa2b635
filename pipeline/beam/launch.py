"""Beam, as this project runs it: the default runner, and errors in one line."""

import contextlib
import logging
import re
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence

import apache_beam as beam
from apache_beam.metrics import MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from components.base import command_line, errors

# DirectRunner would try Prism first, which downloads a binary.
_DEFAULT_RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
# How an error stands in a traceback's text, with what Beam appends to its message.
_USER_ERROR = re.compile(
    r"^(?:RuntimeError: )?components\.base\.errors\.(\w+): (.*?)(?: \[while running .*)?$", re.M
)
_OS_ERROR = re.compile(
    r"^(?:RuntimeError: )?\w+Error: (\[Errno \d+\] .*?)(?: \[while running .*)?$", re.M
)


def counters(finished: beam.Pipeline, namespace: str) -> Counter[str]:
    """What the workers of a pipeline that has run counted under `namespace`, by name."""
    query = finished.result.metrics().query(MetricsFilter().with_namespace(namespace))
    counted: Counter[str] = Counter()
    for each in query["counters"]:
        # Not every runner tells what was committed from what was tried again.
        counted[each.key.metric.name] += (
            each.attempted if each.committed is None else each.committed
        )
    return counted


@contextlib.contextmanager
def pipeline(beam_args: Sequence[str]) -> Iterator[beam.Pipeline]:
    """A Beam pipeline with `beam_args` as its options; it runs when the body ends.

    What ends this early, a signal included, cancels a job that runs elsewhere.

    Raises:
      ConfigError: there is no such runner.
      UserError: a worker raised one, or could not write, or a remote file system failed; Beam
        itself passes such errors on with another text, and from other processes as a traceback's
        text alone.
    """
    # It logs a worker's traceback before it raises the error.
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
    options = PipelineOptions(list(beam_args))
    if options.view_as(StandardOptions).runner is None:
        options.view_as(StandardOptions).runner = _DEFAULT_RUNNER
    try:
        running = beam.Pipeline(options=options)
    except (ValueError, AttributeError, ImportError) as error:
        raise errors.ConfigError(f"Beam options: {' '.join(str(error).split())}") from error
    try:
        yield running
        running.result = running.run()
        try:
            running.result.wait_until_finish()
        except BaseException:
            # Else a cluster would go on, and write, without us. Whether a runner can cancel, and
            # what it raises where it cannot, is its own; what ended the wait matters more.
            with contextlib.suppress(Exception):
                running.result.cancel()
            raise
    except Exception as error:
        text = "".join(traceback.format_exception_only(error))
        if raised := _USER_ERROR.search(text):
            raise getattr(errors, raised[1])(raised[2]) from error
        if raised := _OS_ERROR.search(text):
            raise errors.WorkError(
                f"{raised[1]}; mend that and give the same command again"
            ) from error
        if failure := command_line.remote_failure("".join(traceback.format_exception(error))):
            raise failure from error
        raise
