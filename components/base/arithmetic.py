"""Integer arithmetic."""


def ceil_div(dividend: int, divisor: int) -> int:
    """The quotient rounded up: how many parts of size `divisor` hold `dividend` items."""
    return -(-dividend // divisor)
