# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""The command line of `train_filter.py`, and what is known to work for each architecture."""

import argparse
from pathlib import Path
from typing import Any

from hf_learn2pd.filter.features import FEATURES, HIDDEN_STATE

__all__ = ["LOST", "RECIPES", "parse_options"]

LOST = {"texts": "other texts than the stock loop's", "answers": "right answers of the stock loop that are lost"}

RECIPES: dict[str, dict[str, Any]] = {
    "mlp": {"features": ["confidence"], "learning_rate": 1e-2, "epochs": 1200},
    "transformer": {
        "features": ["confidence", "position", HIDDEN_STATE],
        "joint": True,
        "learning_rate": 3e-3,
        "epochs": 60,
        "masked_only": False,
    },
}


def parse_options(description: str, arguments: list[str] | None) -> argparse.Namespace:
    """
    Reads the command line.

    Args:
        description (`str`): What the script does.
        arguments (`list[str]`, *optional*): Words of the command line; those of the process when not given.

    Returns:
        `argparse.Namespace`: With `recipe`, the options of [`train_filter`] that were chosen, beside the others.
    """
    tiny = Path(__file__).parents[1] / "tiny_llada"
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(tiny))
    parser.add_argument("--prompts", default="tasks", help="tasks, gsm, or a JSONL file of prompts or chats")
    parser.add_argument("--output", default=str(tiny / "unmasking_filter"))
    parser.add_argument("--trajectories", default="trajectories", help="folder to collect in (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=2, help="of trajectories and training (default: %(default)s)")
    parser.add_argument("--architecture", choices=RECIPES, default="transformer")
    parser.add_argument("--features", nargs="+", choices=[*FEATURES, HIDDEN_STATE], help="default: its recipe's")
    parser.add_argument("--hidden-size", type=int, default=32)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--num-prompts", type=int, default=1000, help="to learn from (default: %(default)s)")
    parser.add_argument("--calibration-prompts", type=int, default=1000, help="behind those (default: %(default)s)")
    parser.add_argument("--max-new-tokens", type=int, default=256)
    parser.add_argument("--block-lengths", type=int, nargs="+", help="calibrated with the first (default: the model's)")
    parser.add_argument(
        "--passes", nargs="+", default=["none"], help="none, dual, local+64 and the like; calibrated with the first"
    )
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument(
        "--max-loss", type=float, default=0.005, help="share that may be lost of --lost (default: %(default)s)"
    )
    parser.add_argument("--lost", choices=LOST, default="texts", help="of the stock loop; answers: the right ones")
    parser.add_argument("--test-prompts", type=int, default=200, help="held-out tasks or gsm (default: %(default)s)")
    parser.add_argument("--base-model", help="name of the model on the filter's card (default: --model)")
    parser.add_argument("--plot", help="image file for the curve over thresholds")
    options = parser.parse_args(arguments)
    recipe = RECIPES[options.architecture] | {"hidden_size": options.hidden_size}
    recipe |= {name: value for name in ("features", "epochs") if (value := getattr(options, name)) is not None}
    options.recipe = recipe
    return options
