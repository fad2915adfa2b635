"""Whether parts of a model compile themselves with XLA.

A part may do so to train faster. A graph that is exported must not hold such a part: TensorFlow
Serving, ONNX and LiteRT cannot run it.
"""

import contextlib
import contextvars
from collections.abc import Iterator

_parts_compile = contextvars.ContextVar("parts_compile", default=True)


def parts_compile() -> bool:
    """Whether a part that is traced now may compile itself."""
    return _parts_compile.get()


@contextlib.contextmanager
def plain_operations() -> Iterator[None]:
    """Traces the graphs in its body without compiled parts."""
    token = _parts_compile.set(False)
    try:
        yield
    finally:
        _parts_compile.reset(token)
