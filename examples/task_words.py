# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""The closed vocabulary of the worked-step tasks: every word that a question or an answer may contain."""

__all__ = [
    "COLOURS",
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
COLOURS = _words("red blue green gold pink gray black white")
LETTERS = list("abcdefghijklmnopqrstuvwxyz")
DIGITS = list("0123456789")
DIRECTIONS = _words("north east south west")
TURNS = {"right": 1, "back": 2, "left": 3}
ORDINALS = _words("first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth")

# Synonyms of equal token length: the place of every computed token stays fixed, and the favourite is clear.
WORDINGS = {
    "so": (("so", "thus", "hence"), (60, 25, 15)),
    "is": (("is", "makes", "gives"), (65, 20, 15)),
    "stands": (("stands", "comes", "sits"), (60, 25, 15)),
    "take": (("take", "pick", "choose"), (60, 25, 15)),
    "write": (("write", "put", "note"), (65, 20, 15)),
    "go": (("go", "walk", "ride"), (60, 25, 15)),
    "has": (("has", "owns", "holds"), (60, 25, 15)),
    "leads": (("leads", "wins", "tops"), (65, 20, 15)),
    "keep": (("keep", "save", "store"), (65, 20, 15)),
    "drop": (("drop", "skip", "leave"), (65, 20, 15)),
    "follows": (("follows", "succeeds", "trails"), (70, 20, 10)),
}
FUNCTION_WORDS = _words(
    "the answer is reverse list last before it sort letters from start at add take what total plus minus of more fewer "
    "than how many has and by columns column carry roads to move where are you after faces turn does face likes like "
    "count who most with keep animals tools fruits shift facts repeat user assistant system"
)


def vocabulary() -> list[str]:
    """
    Lists every word and sign that a sample can contain.

    Returns:
        `list[str]`: The closed vocabulary, without duplicates, in a fixed order.
    """
    wordings = [word for words, _ in WORDINGS.values() for word in words]
    groups = (DIGITS, list(".,:?"), FUNCTION_WORDS, wordings, ORDINALS, LETTERS, NAMES, THINGS, list(KINDS), PLURALS)
    return list(dict.fromkeys([word for group in groups for word in group] + COLOURS + DIRECTIONS + list(TURNS)))
