# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""What a filter gains by its features, its loss and its size, on prompts that it was neither trained nor tested on.

python examples/evaluation/filter_ablation.py --num-prompts 1000 --held-out-prompts 400 --decode 4
python examples/evaluation/filter_ablation.py --model examples/gsm_llada --prompts gsm --passes none local+64

Every recipe is trained on the same trajectories of the oracle. At a threshold that accepts so many wrong predictions in
a thousand steps, the table says which share of the right ones is accepted. The best recipes then decode the held-out
prompts with that threshold. A run that is started again collects no trajectory and decodes no stock text anew.
"""

import argparse
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from measuring import environment, read_passes
from tqdm.auto import tqdm
from transformers import AutoModelForCausalLM, AutoTokenizer

from hf_learn2pd import Learn2PD, UnmaskingFilter
from hf_learn2pd.filter.features import HIDDEN_STATE
from hf_learn2pd.training.arguments import own_block_length
from hf_learn2pd.training.prompts import tokenize_prompts
from hf_learn2pd.training.texts import StockTexts
from hf_learn2pd.training.training import train_filter
from hf_learn2pd.training.trajectories import Trajectories, collect_trajectories

sys.path.insert(0, str(Path(__file__).parents[1] / "filter_training"))

from rounds import held_out_last
from training_questions import questions

__all__ = ["RECIPES", "accept_at", "main"]

BASE: dict[str, Any] = {
    "architecture": "transformer",
    "features": ("confidence", "position"),
    "learning_rate": 3e-3,
    "epochs": 60,
    "masked_only": False,
}
SEEING: dict[str, Any] = BASE | {"features": (*BASE["features"], HIDDEN_STATE)}
MLP: dict[str, Any] = {"architecture": "mlp", "features": ("confidence",), "epochs": 1200, "masked_only": True}
RECIPES: dict[str, dict[str, Any]] = {
    "confidence, position": BASE,
    "confidence": BASE | {"features": ("confidence",)},
    **{f"and {name}": BASE | {"features": (*BASE["features"], name)} for name in ("margin", "entropy", "mask_ratio")},
    "and unchanged": BASE | {"features": (*BASE["features"], "unchanged")},
    "and hidden state": SEEING,
    "and hidden state, mask_ratio": SEEING | {"features": (*SEEING["features"], "mask_ratio")},
    "and hidden state, wrong ones weigh 30": SEEING | {"false_accept_weight": 30.0},
    "and hidden state, 64 wide": SEEING | {"hidden_size": 64},
    "and hidden state, joint": SEEING | {"joint": True},
    "joint": BASE | {"joint": True},
    "all features": BASE | {"features": ("confidence", "margin", "entropy", "mask_ratio", "position", "unchanged")},
    "loss on masked positions": BASE | {"masked_only": True},
    "wrong ones weigh 1": BASE | {"false_accept_weight": 1.0},
    "wrong ones weigh 30": BASE | {"false_accept_weight": 30.0},
    "64 wide": BASE | {"hidden_size": 64},
    "4 layers": BASE | {"num_layers": 4},
    "published MLP": MLP,
    "MLP, loss on all positions": MLP | {"masked_only": False},
}


@torch.no_grad()
def accept_at(filter: UnmaskingFilter, trajectories: Trajectories, wrong: float) -> tuple[float, float]:
    """
    Finds the threshold that accepts a number of wrong predictions, and the share of the right ones above it.

    Args:
        filter ([`UnmaskingFilter`]): The filter.
        trajectories ([`Trajectories`]): Steps that it was not trained on.
        wrong (`float`): Wrong predictions that may be accepted, per thousand steps.

    Returns:
        `tuple[float, float]`: The threshold and the share.
    """
    level = filter.level(trajectories)[trajectories.masked]
    correct = trajectories.correct[trajectories.masked]
    mistakes = level[~correct].sort(descending=True).values
    allowed = int(wrong * len(trajectories.confidence) / 1000)
    threshold = max(0.0, mistakes[allowed].item()) if allowed < len(mistakes) else 0.0
    return threshold, (level[correct] > threshold).double().mean().item()


def main(arguments: list[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(Path(__file__).parents[1] / "tiny_llada"))
    parser.add_argument("--prompts", default="tasks", help="tasks, gsm, or a JSONL file of prompts or chats")
    parser.add_argument("--trajectories", default="ablation", help="folder to collect in (default: %(default)s)")
    parser.add_argument("--num-prompts", type=int, default=1000, help="to learn from (default: %(default)s)")
    parser.add_argument("--held-out-prompts", type=int, default=400, help="behind those (default: %(default)s)")
    parser.add_argument("--max-new-tokens", type=int, default=256)
    parser.add_argument("--passes", nargs="+", default=["none"], help="to learn from; decoded with the first")
    parser.add_argument("--wrong", type=float, default=1.0, help="wrong accepts per thousand steps")
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--decode", type=int, default=0, help="recipes that decode the held-out prompts, best first")
    parser.add_argument("--batch-size", type=int, default=32)
    options = parser.parse_args(arguments)

    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model: Any = AutoModelForCausalLM.from_pretrained(options.model, dtype="auto")
    asked_of, folder = questions(options.prompts), Path(options.trajectories)
    passes = {name: read_passes(name) for name in options.passes}
    size = {"max_new_tokens": options.max_new_tokens, "batch_size": options.batch_size}
    parts: dict[str, Trajectories] = {}
    split = {"learned": options.num_prompts, "held_out": options.held_out_prompts}
    prompts = {part: [chat for chat, _ in islice(asked_of, count)] for part, count in split.items()}
    for part, asked in prompts.items():
        ways = [
            collect_trajectories(
                model,
                asked,
                folder / f"{part}_{name}",
                tokenizer,
                texts=folder / "texts",
                hidden_states=True,
                **size,
                **way,
            )
            for name, way in passes.items()
        ]
        parts[part] = held_out_last(ways)

    found = {}
    for name in tqdm(options.recipes, unit="recipe"):
        filter = train_filter(parts["learned"], progress=False, **RECIPES[name])
        found[name] = (filter, *accept_at(filter, parts["held_out"], options.wrong))
    ranked = sorted(found, key=lambda name: -found[name][2])
    texts, passes_of = {}, {}
    way = {name: value for name, value in passes[options.passes[0]].items() if value is not None}
    stock = StockTexts(model, folder / "texts", options.max_new_tokens, own_block_length(model, None), **way)
    batches = (
        list(tokenize_prompts(model, tokenizer, prompts["held_out"], options.batch_size)) if options.decode else []
    )
    for name in ranked[: options.decode]:
        filter, threshold, _ = found[name]
        equal, nfe = [], []
        for batch in tqdm(batches, unit="batch", leave=False):
            output = model.generate(
                **batch,
                decoding=Learn2PD(filter, threshold),
                max_new_tokens=options.max_new_tokens,
                return_dict_in_generate=True,
                **way,
            )
            answers = stock.fill(output.sequences[:, batch["input_ids"].shape[1] :])
            equal.append((answers == stock(batch)["answers"]).all(dim=-1))
            nfe.append(output.nfe.cpu())
        texts[name] = 100 * torch.cat(equal).double().mean().item()
        passes_of[name] = torch.cat(nfe).double().mean().item()
    print(f"| recipe | parameters | threshold | right ones accepted, % | texts of stock, % | NFE |\n|{'---|' * 6}")
    for name in ranked:
        filter, threshold, share = found[name]
        decoded = f"{texts[name]:.1f} | {passes_of[name]:.2f}" if name in texts else "- | -"
        parameters = sum(weights.numel() for weights in filter.parameters())
        print(f"| {name} | {parameters:,} | {threshold:.4f} | {100 * share:.1f} | {decoded} |")
    print(
        f"\n{options.num_prompts} prompts to learn from, {options.held_out_prompts} held out, {options.wrong:g} wrong "
        f"accepts per thousand steps; passes {' and '.join(options.passes)}; {environment()}"
    )


if __name__ == "__main__":
    main()
