import pytest

from components.base.arithmetic import ceil_div


@pytest.mark.parametrize(
    ("dividend", "divisor", "quotient"),
    [(0, 3, 0), (1, 3, 1), (3, 3, 1), (4, 3, 2), (2**63, 3, (2**63 + 2) // 3)],
)
def test_ceil_div_rounds_up(dividend, divisor, quotient):
    assert ceil_div(dividend, divisor) == quotient
