# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Proves the decoder by fuzzing: `python tests/fuzz.py --cases 20000 --seed 0` runs calls drawn at random."""

import argparse
import logging
import sys
import warnings
from collections import Counter
from random import Random

import torch
from fuzz_cases import Case, draw
from fuzz_checks import check
from tqdm import tqdm

__all__ = ["case_of", "run", "silent"]


def silent() -> None:
    """Options are drawn that transformers warns about."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)


def case_of(seed: int, number: int) -> Case:
    """The case with a number among those of a seed."""
    return draw(Random(f"{seed}/{number}"))


def run(seed: int, numbers: range, progress: bool = False) -> tuple[Counter[str], list[str]]:
    """
    Runs cases.

    Args:
        seed (`int`): Of all of them.
        numbers (`range`): Which of them to run.
        progress (`bool`, *optional*, defaults to `False`): Whether to show a progress bar.

    Returns:
        `tuple[Counter[str], list[str]]`: How many were valid, or refused by which argument; a line for each defect.
    """
    outcomes: Counter[str] = Counter()
    defects = []
    bar = tqdm(numbers, unit="case", disable=not progress)
    for number in bar:
        case = case_of(seed, number)
        try:
            outcomes[check(case)] += 1
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
            defects.append(f"python tests/fuzz.py --seed {seed} --first {number} --cases 1  # {case.family}: {reason}")
            bar.write(f"{defects[-1]}\n    {case}", file=sys.stderr)
        bar.set_postfix(valid=outcomes["valid"], defects=len(defects))
    return outcomes, defects


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=20_000, help="how many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first: goes on where a run has stopped")
    options = parser.parse_args()
    silent()
    outcomes, defects = run(options.seed, range(options.first, options.first + options.cases), progress=True)
    print(f"{options.cases} cases of seed {options.seed}: {outcomes.pop('valid', 0)} valid, {len(defects)} defects")
    print("refused by", ", ".join(f"{name} {count}" for name, count in outcomes.most_common()))
    print("\n".join(defects))
    sys.exit(bool(defects))


if __name__ == "__main__":
    main()
