"""A stack of symbols in a few bits: asymmetric numeral systems (Duda, 2013), range variant.

Bits-back coding needs a coder that can pop symbols under any distribution, even symbols that were
never pushed: popping then draws from that distribution. Many lanes, each a coder of its own, work
at once, so that one NumPy operation codes a symbol for each image of a batch; they share a stack of
words (Giesen, 2014; Townsend et al., 2020).
"""

import numpy as np

# A lane's state is at least 2^32 and below 2^64; words have 32 bits.
_WORD_BITS = np.uint64(32)
_LOWEST = np.uint64(1 << 32)
_LOW_WORD = np.uint64((1 << 32) - 1)


class UnderflowError(Exception):
    """A read below the bottom of the stack: the message was not written with this model."""


class Message:
    """Lanes, and the stack of words that they share.

    Args:
      words: the stack, uint32, the top last.
      states: of the lanes, uint64.
      seed: seed of the words that are borrowed when the stack is empty; None to raise
        UnderflowError instead.
    """

    def __init__(
        self,
        words: np.ndarray | None = None,
        states: np.ndarray | None = None,
        *,
        seed: int | None = None,
    ):
        given = np.zeros(0, np.uint32) if words is None else words
        self._words = np.empty(max(1024, 2 * len(given)), np.uint32)
        self._words[: len(given)] = given
        self._size = len(given)
        self.states = np.zeros(0, np.uint64) if states is None else states.astype(np.uint64)
        self._lender = None if seed is None else np.random.PCG64(seed)
        self.borrowed = 0

    @property
    def words(self) -> np.ndarray:
        """The stack, uint32, the top last."""
        return self._words[: self._size]

    def resize(self, lanes: int) -> None:
        """Adds lanes, whose states are words of the stack, or undoes that.

        A new lane costs no bits: the words come back to the stack when it is removed.

        Raises:
          UnderflowError: a lane that is to be removed still holds symbols.
        """
        if lanes > len(self.states):
            words = self._pop_words(lanes - len(self.states))
            self.states = np.concatenate([self.states, words.astype(np.uint64) | _LOWEST])
        elif lanes < len(self.states):
            removed, self.states = self.states[lanes:], self.states[:lanes].copy()
            if (removed >> _WORD_BITS != 1).any():
                raise UnderflowError
            self._push_words(removed)

    def push(self, starts: np.ndarray, sizes: np.ndarray, precision: int) -> None:
        """Puts one symbol on each of the first N lanes.

        Args:
          starts: where the symbols' intervals start, int64 [N].
          sizes: the sizes of the intervals, from 1 to 2^precision, int64 [N]. A symbol that
            fills it takes no bits.
          precision: the intervals of all symbols fill 2^precision; at most 32.
        """
        shift, size = np.uint64(precision), sizes.astype(np.uint64)
        states = self.states[: len(starts)]
        # A lane whose state would exceed 64 bits first moves its lower word to the stack.
        # Shifted in two steps: `size` can be 2^precision, which a shift by 64 - precision
        # overflows.
        is_full = states >> np.uint64(32) >= size << (np.uint64(32) - shift)
        if is_full.any():
            self._push_words(states[is_full])
            states[is_full] >>= _WORD_BITS
        # state -> floor(state / size) 2^precision + start + state mod size (Duda, 2013)
        quotients = states // size
        remainders = states - quotients * size
        states[:] = (quotients << shift) + remainders + starts.astype(np.uint64)

    def positions(self, lanes: int, precision: int) -> np.ndarray:
        """The positions in 0 … 2^precision - 1 that the next symbols' intervals hold, int64."""
        mask = np.uint64((1 << precision) - 1)
        return (self.states[:lanes] & mask).astype(np.int64)

    def pop(self, starts: np.ndarray, sizes: np.ndarray, precision: int) -> None:
        """Pops from each of the first N lanes the symbol whose interval holds its position.

        The arguments are those of `push`, which this undoes.

        Raises:
          UnderflowError: the stack is empty, and nothing can be borrowed.
        """
        states = self.states[: len(starts)]
        offsets = self.positions(len(starts), precision) - starts
        states[:] = (states >> np.uint64(precision)) * sizes.astype(np.uint64)
        states += offsets.astype(np.uint64)
        # As `push` moved a word to the stack if the state was full, the word now comes back.
        is_low = states < _LOWEST
        if is_low.any():
            words = self._pop_words(int(is_low.sum()))
            states[is_low] = (states[is_low] << _WORD_BITS) | words.astype(np.uint64)

    def is_initial(self, borrowed: int, seed: int) -> bool:
        """Whether no symbol is left: the stack holds the words that were borrowed, and no more."""
        if len(self.states) or self._size != borrowed:
            return False
        lent = np.asarray(np.random.PCG64(seed).random_raw(borrowed)).astype(np.uint64) & _LOW_WORD
        return np.array_equal(self.words, lent[::-1].astype(np.uint32))

    def _push_words(self, values: np.ndarray) -> None:
        """Puts the lower halves of uint64 values on the stack."""
        end = self._size + len(values)
        if end > len(self._words):
            self._words = np.concatenate([self._words, np.empty(end, np.uint32)])
        self._words[self._size : end] = (values & _LOW_WORD).astype(np.uint32)
        self._size = end

    def _pop_words(self, count: int) -> np.ndarray:
        """Takes words from the stack, the topmost last, uint32 [count]."""
        missing = max(0, count - self._size)
        words = self._words[self._size - (count - missing) : self._size].copy()
        self._size -= count - missing
        if not missing:
            return words
        if self._lender is None:
            raise UnderflowError
        # As if they had been below the stack from the beginning.
        lent = np.asarray(self._lender.random_raw(missing)).astype(np.uint64) & _LOW_WORD
        self.borrowed += missing
        return np.concatenate([lent[::-1].astype(np.uint32), words])
