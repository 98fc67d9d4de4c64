# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Train a Learn2PD filter for a model: its own outputs on training prompts, replayed by the oracle.

The threshold is then set on further training prompts, to the lowest with which decoding agrees with the stock loop.

python examples/train_filter.py                       # the filter shipped with the small checkpoint
python examples/train_filter.py --num-prompts 200 --output my_filter
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from tasks import task_sample
from transformers import AutoModelForCausalLM, AutoTokenizer

import hf_learn2pd  # noqa: F401  (registers LLaDA)
from hf_learn2pd.filter.calibration import calibrate_threshold
from hf_learn2pd.filter.training import train_filter
from hf_learn2pd.filter.trajectories import collect_trajectories

__all__ = ["main"]

# Of a stream of training samples of its own, apart from the one the model was trained on.
SEED = 188


def main(arguments: list[str] | None = None) -> None:
    """Collects trajectories, trains, calibrates, saves the filter and prints what was tried."""
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(here / "tiny_llada"))
    parser.add_argument("--output", default=str(here / "tiny_llada" / "unmasking_filter"))
    parser.add_argument("--num-prompts", type=int, default=1000)
    parser.add_argument("--calibration-prompts", type=int, default=400)
    parser.add_argument("--max-new-tokens", type=int, default=256)
    parser.add_argument("--block-length", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument(
        "--agreement", type=float, default=0.9975, help="share of texts that must equal the stock loop's"
    )
    parser.add_argument("--base-model", default="tiny_llada", help="name of the model on the filter's card")
    options = parser.parse_args(arguments)

    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model: Any = AutoModelForCausalLM.from_pretrained(options.model)
    model.to("cuda" if torch.cuda.is_available() else "cpu")

    def tokenize(first: int, count: int) -> list[Any]:
        prompts = [task_sample(SEED, index, "train").prompt for index in range(first, first + count)]
        batches = []
        for start in range(0, count, options.batch_size):
            chats = [[{"role": "user", "content": prompt}] for prompt in prompts[start : start + options.batch_size]]
            batches.append(
                tokenizer.apply_chat_template(
                    chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
                )
            )
        return batches

    batches = tokenize(0, options.num_prompts)
    trajectories = collect_trajectories(model, batches, options.max_new_tokens, options.block_length)
    filter = train_filter(trajectories, base_model=options.base_model)
    batches = tokenize(options.num_prompts, options.calibration_prompts)
    trials = calibrate_threshold(
        model, filter, batches, options.agreement, options.max_new_tokens, options.block_length
    )
    rows = [
        f"| {trial.threshold:.4f} | {100 * trial.agreement:.2f} | {trial.nfe:.2f} |"
        for trial in sorted(trials, key=lambda trial: trial.threshold)
    ]
    evidence = "\n".join(["| threshold | texts equal to stock, % | NFE |", "|---|---|---|", *rows])
    print(evidence)
    filter.save_pretrained(
        options.output,
        model_card_kwargs={
            "training": f"{len(trajectories.confidence)} oracle steps over {options.num_prompts} prompts, canvas of "
            f"{options.max_new_tokens}. The threshold is the lowest of these with which at least "
            f"{100 * options.agreement:g} % of {options.calibration_prompts} other training prompts get the text of "
            f"the stock loop:\n\n{evidence}"
        },
    )
    if Path(options.output).resolve() == (Path(options.model) / "unmasking_filter").resolve():
        # `generate` finds a filter in the model's own repository; from now on it is used without being asked for.
        model.generation_config.update(
            decoding="learn2pd", block_length=options.block_length, max_new_tokens=options.max_new_tokens
        )
        model.generation_config.save_pretrained(options.model)
    with torch.no_grad():
        accepted = (filter(trajectories.confidence).sigmoid() > filter.threshold) & trajectories.masked
    right = (accepted & trajectories.correct).sum() / accepted.sum().clamp(min=1)
    recall = (accepted & trajectories.correct).sum() / (trajectories.masked & trajectories.correct).sum()
    print(f"threshold {filter.threshold:.4f}: precision {right:.4f}, recall {recall:.4f}; saved to {options.output}")


if __name__ == "__main__":
    main()
