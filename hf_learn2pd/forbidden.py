# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Sequences of tokens that a text must not hold, in whatever order its positions are unmasked."""

from collections.abc import Iterable, Iterator, Sequence

__all__ = ["Forbidden", "Text"]

# By place in a sequence and the tokens around it, the tokens that would complete it there.
Index = dict[tuple[int, tuple[int, ...]], set[int]]


class Forbidden:
    r"""
    What `bad_words_ids`, `no_repeat_ngram_size` and `encoder_no_repeat_ngram_size` forbid.

    transformers looks back from the token that comes next. Here tokens also stand behind it, so a token is forbidden
    where it would complete a sequence with its neighbours on either side. Where nothing behind is unmasked this is
    what transformers does. What lies behind an end-of-text token is no text: sequences over it are free.

    Args:
        words (`Sequence[Iterable[tuple[int, ...]]]`):
            The sequences; those of each row of the batch, or one entry for all rows.
        repeats (`int`, *optional*, defaults to 0): Length of sequences that may occur once only; 0 for none.
        eos (`frozenset[int]`, *optional*, defaults to nothing): Ids that end a text.
    """

    def __init__(self, words: Sequence[Iterable[tuple[int, ...]]], repeats: int = 0, eos: frozenset[int] = frozenset()):
        self.repeats, self.eos = repeats, eos
        self.indices: list[Index] = [{} for _ in words]
        sizes = {repeats} if repeats else set()
        for index, sequences in zip(self.indices, words, strict=True):
            for sequence in sequences:
                sizes.add(len(sequence))
                self.learn(index, sequence)
        self.sizes = sorted(sizes)

    def learn(self, index: Index, sequence: tuple[int, ...]) -> None:
        """Adds a sequence to an index, unless a text would have ended inside of it."""
        if self.eos.isdisjoint(sequence[:-1]):
            for place, token in enumerate(sequence):
                index.setdefault((place, sequence[:place] + sequence[place + 1 :]), set()).add(token)

    def text(self, row: int, tokens: list[int | None], answer: int) -> "Text":
        """
        Reads a row.

        Args:
            row (`int`): Its index in the batch.
            tokens (`list`): Its tokens without padding, None where it is masked.
            answer (`int`): Where the answer begins in them.

        Returns:
            [`Text`]
        """
        return Text(self, self.indices[row % len(self.indices)], tokens, answer)


class Text:
    """
    A row of tokens, some of them unknown, and what is forbidden in it.

    Args:
        forbidden ([`Forbidden`]): The sequences.
        index (`dict`): Those of this row.
        tokens (`list`): Ids, None where unknown.
        answer (`int`): Where the answer begins.
    """

    def __init__(self, forbidden: Forbidden, index: Index, tokens: list[int | None], answer: int):
        self.forbidden, self.tokens, self.answer = forbidden, list(tokens), answer
        self.index = index
        size = forbidden.repeats
        if size:
            self.index = {}
            for start in range(len(tokens) - size + 1):
                self._occurs(start, self.tokens[start : start + size])

    def banned(self, place: int) -> set[int]:
        """Returns the ids that must not stand at a place that is unknown."""
        found: set[int] = set()
        for start, sequence in self._over(place):
            at = place - start
            around = sequence[:at] + sequence[at + 1 :]
            if None not in around:
                found |= self.index.get((at, tuple(around)), set())  # type: ignore[arg-type]
        if self.forbidden.repeats:
            found |= {token for token in self._neighbours(place) if self._doubles(place, token)}
        return found

    def write(self, place: int, token: int) -> None:
        """Makes a token known."""
        self.tokens[place] = token
        if self.forbidden.repeats:
            for start, sequence in self._over(place):
                self._occurs(start, sequence)

    def _over(self, place: int) -> Iterator[tuple[int, list[int | None]]]:
        for size in self.forbidden.sizes:
            for start in range(max(0, place - size + 1), min(place, len(self.tokens) - size) + 1):
                yield start, self.tokens[start : start + size]

    def _occurs(self, start: int, sequence: list[int | None]) -> None:
        """Forbids a sequence that stands in the text to stand there again."""
        in_answer = start + len(sequence) > self.answer
        # An answer may hold tokens behind its end for a while, which must not keep it from ending.
        if None not in sequence and not (in_answer and self.forbidden.eos.intersection(sequence)):
            self.forbidden.learn(self.index, tuple(sequence))  # type: ignore[arg-type]

    def _neighbours(self, place: int) -> set[int]:
        reach = self.forbidden.repeats - 1
        around = self.tokens[max(0, place - reach) : place + reach + 1]
        return {token for token in around if token is not None} - self.forbidden.eos

    def _doubles(self, place: int, token: int) -> bool:
        """Whether a token makes two sequences over it equal, as in a run of one token."""
        sequences = []
        for start, sequence in self._over(place):
            sequence[place - start] = token
            if None not in sequence and self.forbidden.eos.isdisjoint(sequence):
                sequences.append(tuple(sequence))
        return len(set(sequences)) < len(sequences)
