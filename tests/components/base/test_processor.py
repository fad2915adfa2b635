import pytest

from components.base import processor


@pytest.fixture
def cpu_info(monkeypatch, tmp_path):
    """Returns a function that replaces /proc/cpuinfo by a text; None for no such file."""

    def replace(text: str | None) -> None:
        path = tmp_path / "cpuinfo"
        path.unlink(missing_ok=True)
        if text is not None:
            path.write_text(text)
        monkeypatch.setattr(processor, "_CPU_INFO", path)

    return replace


def test_the_model_is_that_of_the_first_processor(cpu_info):
    cpu_info("processor\t: 0\nmodel\t\t: 2\nmodel name\t: A: CPU\n\nmodel name\t: B\n")
    assert processor.model() == "A: CPU"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu avx512f avx512_bf16 amx_tile", True),
        ("fpu amx_bf16", True),
        ("fpu avx512f avx512_fp16", False),
        ("", False),
    ],
)
def test_the_flags_tell_whether_it_multiplies_in_bfloat16(cpu_info, flags, expected):
    cpu_info(f"processor\t: 0\nmodel name\t: avx512_bf16\nflags\t\t: {flags}\nbugs\t\t: x\n")
    assert processor.has_bfloat16() == expected


@pytest.mark.parametrize("text", [None, "", "Processor: something else\n"])
def test_other_systems_say_nothing(cpu_info, text):
    cpu_info(text)
    assert processor.model() == ""
    assert not processor.has_bfloat16()
