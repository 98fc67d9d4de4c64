# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Families of tasks with numbers: sums, differences, and who has the most.

A family is a function of a source of randomness and a number of steps, and returns a question and its worked answer.
"""

import random
from itertools import pairwise

from task_words import NAMES, ORDINALS, PLURALS, close, say

__all__ = ["best", "change", "compare", "total"]


def change(rng: random.Random, value: int) -> tuple[bool, int, int]:
    """Draws an addition or subtraction that keeps `value` within one digit: (is an addition, amount, result)."""
    adds = rng.random() < (9 - value) / 9
    amount = rng.randint(1, 9 - value if adds else value)
    return adds, amount, value + amount if adds else value - amount


def total(rng: random.Random, size: int) -> tuple[str, str]:
    """Asks for the total after additions and subtractions within one digit."""
    value = rng.randint(0, 9)
    orders, steps = [], []
    start = value
    for ordinal in ORDINALS[:size]:
        adds, amount, result = change(rng, value)
        order = f"{ordinal} {'add' if adds else 'take'} {amount}"
        orders.append(order)
        steps.append(f"{order}: {value} {'plus' if adds else 'minus'} {amount} {say(rng, 'is')} {result}.")
        value = result
    prompt = f"start at {start}. {', '.join(orders)}. what is the total?"
    return prompt, f"{' '.join(steps)} {close(rng, str(value))}"


def compare(rng: random.Random, size: int) -> tuple[str, str]:
    """Asks how many the last of a chain of people has, each with more or fewer than the one before."""
    names = rng.sample(NAMES, size + 1)
    things = rng.choice(PLURALS)
    value = rng.randint(1, 9)
    facts, steps = [f"{names[0]} has {value} {things}."], [f"{names[0]} has {value}."]
    for before, name in pairwise(names):
        adds, amount, result = change(rng, value)
        fact = f"{name} has {amount} {'more' if adds else 'fewer'} than {before}"
        facts.append(f"{fact}.")
        sign = "plus" if adds else "minus"
        steps.append(f"{fact}, {say(rng, 'so')} {value} {sign} {amount} {say(rng, 'is')} {result}.")
        value = result
    return f"{' '.join(facts)} how many has {names[-1]}?", f"{' '.join(steps)} {close(rng, str(value))}"


def best(rng: random.Random, size: int) -> tuple[str, str]:
    """Asks who has the most."""
    names, scores = rng.sample(NAMES, size), rng.sample(range(10), size)
    leader, most = names[0], scores[0]
    steps = [f"{leader} has {most}, {say(rng, 'so')} {leader} {say(rng, 'leads')} with {most}."]
    for name, score in zip(names[1:], scores[1:], strict=True):
        relation = f"{'more' if score > most else 'fewer'} than {most}"
        if score > most:
            leader, most = name, score
        steps.append(f"{name} has {score}, {relation}, {say(rng, 'so')} {leader} {say(rng, 'leads')} with {most}.")
    facts = [f"{name} has {score}" for name, score in zip(names, scores, strict=True)]
    return f"{', '.join(facts)}. who has the most?", f"{' '.join(steps)} {close(rng, leader)}"
