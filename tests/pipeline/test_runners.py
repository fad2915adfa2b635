import apache_beam as beam
import pytest

from components.errors import ConfigError, WorkError
from pipeline import runners


def fail(error: Exception):
    raise error


@pytest.mark.parametrize("error", [WorkError("file x is damaged"), ConfigError("wrong")])
def test_a_workers_error_arrives_as_it_was(error):
    with pytest.raises(type(error), match=f"^{error}$"), runners.pipeline([]) as p:
        _ = p | beam.Create([1]) | beam.Map(lambda _: fail(error))


def test_a_full_disk_in_a_worker_is_one_line():
    error = OSError(28, "No space left on device")
    with pytest.raises(WorkError, match=r"^\[Errno 28\] No space left on device; mend"):  # noqa: SIM117
        with runners.pipeline([]) as p:
            _ = p | beam.Create([1]) | beam.Map(lambda _: fail(error))


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError, match="division by zero"), runners.pipeline([]) as p:
        _ = p | beam.Create([1]) | beam.Map(lambda x: x / 0)


def test_a_runner_given_is_used():
    with (
        pytest.raises(ConfigError, match=r"Beam options: .*NoSuchRunner"),
        runners.pipeline(["--runner=NoSuchRunner"]),
    ):
        pass
