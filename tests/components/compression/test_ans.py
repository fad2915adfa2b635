import numpy as np
import pytest

from components.compression.ans import Message, UnderflowError
from components.compression.quantized_cdf import PRECISION, TOTAL


def draw_symbols(count, lanes, probabilities, seed=0):
    """Symbols [count, lanes], and the edges of their intervals."""
    edges = np.concatenate([[0], np.cumsum(np.rint(np.array(probabilities) * TOTAL))])
    edges = edges.astype(np.int64)
    edges[-1] = TOTAL
    rng = np.random.default_rng(seed)
    return rng.choice(len(probabilities), (count, lanes), p=probabilities), edges


def push_all(message, symbols, edges):
    for row in symbols:
        message.push(edges[row], edges[row + 1] - edges[row], PRECISION)


def pop_one(message, lanes, edges):
    positions = message.positions(lanes, PRECISION)
    row = np.searchsorted(edges, positions, side="right") - 1
    message.pop(edges[row], edges[row + 1] - edges[row], PRECISION)
    return row


@pytest.mark.parametrize("lanes", [1, 3, 64])
def test_what_is_put_on_a_message_comes_back_in_reverse(lanes):
    symbols, edges = draw_symbols(200, lanes, [0.7, 0.2, 0.0999, 0.0001])
    message = Message(seed=0)
    message.resize(lanes)
    before = message.states.copy()
    push_all(message, symbols, edges)
    again = Message(message.words, message.states)
    for row in symbols[::-1]:
        assert (pop_one(again, lanes, edges) == row).all()
    assert (again.states == before).all()
    again.resize(0)
    assert again.is_initial(message.borrowed, 0)


def test_the_length_is_the_entropy():
    probabilities = [0.9, 0.06, 0.03, 0.01]
    symbols, edges = draw_symbols(5000, 8, probabilities)
    message = Message(seed=0)
    message.resize(8)
    before = np.log2(message.states.astype(float)).sum()
    push_all(message, symbols, edges)
    bits = 32 * len(message.words) + np.log2(message.states.astype(float)).sum() - before
    information = -np.log2(np.array(probabilities))[symbols].sum()
    assert bits == pytest.approx(information, rel=1e-4)


def test_taking_symbols_and_putting_them_back_costs_nothing():
    edges = np.array([0, 1000, TOTAL])
    message = Message(seed=3)
    message.resize(16)
    states = message.states.copy()
    taken = [pop_one(message, 16, edges) for _ in range(50)]
    for row in reversed(taken):
        message.push(edges[row], edges[row + 1] - edges[row], PRECISION)
    assert (message.states == states).all()
    message.resize(0)
    assert message.is_initial(message.borrowed, 3)
    assert not message.is_initial(message.borrowed, 4)


def test_new_lanes_cost_no_bits():
    symbols, edges = draw_symbols(100, 2, [0.5, 0.5])
    message = Message(seed=0)
    message.resize(2)
    push_all(message, symbols, edges)
    words, borrowed = message.words.copy(), message.borrowed
    message.resize(5)
    assert message.borrowed == borrowed
    message.resize(2)
    assert (message.words == words).all()


def test_an_empty_message_and_a_lane_with_symbols_are_refused():
    message = Message()
    with pytest.raises(UnderflowError):
        message.resize(1)
    message = Message(seed=0)
    message.resize(1)
    for _ in range(40):
        message.push(np.array([5]), np.array([1]), PRECISION)
    message.states[:] |= np.uint64(1 << 50)
    with pytest.raises(UnderflowError):
        message.resize(0)
