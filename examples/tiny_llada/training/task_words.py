# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""The closed vocabulary of the worked-step tasks: every word that a question or an answer may contain."""

import random

__all__ = [
    "DIGITS",
    "DIRECTIONS",
    "KINDS",
    "LETTERS",
    "NAMES",
    "ORDINALS",
    "PLURALS",
    "THINGS",
    "TURNS",
    "WORDINGS",
    "close",
    "say",
    "vocabulary",
]


def _words(text: str) -> list[str]:
    return text.split()


NAMES = _words("ann ben cleo dan eve finn gus hana ivy jack kim leo mia ned olga pam")
ANIMALS = _words("cat dog fox hen owl pig cow bee bat elk")
TOOLS = _words("pen cup box hat key map rug jar bag net")
FRUITS = _words("fig plum pear lime kiwi date peach mango melon grape")
KINDS = {"animal": ANIMALS, "tool": TOOLS, "fruit": FRUITS}
THINGS = [word for words in KINDS.values() for word in words]
PLURALS = _words("pens cups hats keys maps bags")
LETTERS = list("abcdefghijklmnopqrstuvwxyz")
DIGITS = list("0123456789")
DIRECTIONS = _words("north east south west")
TURNS = {"right": 1, "back": 2, "left": 3}
ORDINALS = _words("first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth")

# Synonyms of equal token length: the place of every computed token stays fixed, and the favourite is clear. How clear
# differs from meaning to meaning, as in natural text.
WORDINGS = {
    "so": (("so", "thus", "hence"), (85, 10, 5)),
    "is": (("is", "makes", "gives"), (70, 20, 10)),
    "stands": (("stands", "comes", "sits"), (60, 25, 15)),
    "leads": (("leads", "wins", "tops"), (85, 10, 5)),
    "follows": (("follows", "succeeds", "trails"), (70, 20, 10)),
}
FUNCTION_WORDS = _words(
    "the answer is reverse list last before it letters letter from start at add take what total plus minus more fewer "
    "than how many has to where after faces turn does face who most with and shift facts repeat user "
    "assistant system"
)


def vocabulary() -> list[str]:
    """
    Lists every word and sign that a sample can contain.

    Returns:
        `list[str]`: The closed vocabulary, without duplicates, in a fixed order.
    """
    wordings = [word for words, _ in WORDINGS.values() for word in words]
    groups = (DIGITS, list(".,:?"), FUNCTION_WORDS, wordings, ORDINALS, LETTERS, NAMES, THINGS, list(KINDS), PLURALS)
    return list(dict.fromkeys([word for group in groups for word in group] + DIRECTIONS + list(TURNS)))


def say(rng: random.Random, meaning: str) -> str:
    """Draws one of the words for a meaning, a key of `WORDINGS`."""
    words, weights = WORDINGS[meaning]
    return rng.choices(words, weights)[0]


def close(rng: random.Random, answer: str) -> str:
    """Draws the last sentence of a worked text."""
    return f"{say(rng, 'so')} the answer is {answer}."
