# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Ask a small LLaDA that is trained on worked-step tasks, and compare how many forward passes each decoder needs.

python examples/quickstart.py                                  # a few held-out questions
python examples/quickstart.py "reverse the list cat, dog, owl."  # your own
python examples/quickstart.py --num-prompts 400                # a table over more of them
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm
from transformers import AutoModelForCausalLM, AutoTokenizer

import hf_learn2pd

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "tiny_llada" / "training"))
sys.path.insert(0, str(HERE / "evaluation"))

from comparison import answers, table
from measuring import Measurement, environment, measure
from tasks import task_sample

__all__ = ["DECODERS", "main"]

# Of the stream of held-out samples; the filter and its threshold never see them.
SEED = 2509

DECODERS: dict[str, dict[str, Any]] = {
    "stock, no stop": {"decoding": "low_confidence", "end_of_text": None},
    "stock + EoTP": {"decoding": "low_confidence"},
    "threshold 0.9 + EoTP": {"decoding": hf_learn2pd.Threshold(0.9)},
    "learn2pd + EoTP": {"decoding": "learn2pd"},
}


def main(arguments: list[str] | None = None) -> dict[str, Measurement]:
    """Runs the comparison; returns what was measured, by decoder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prompts", nargs="*", help="your own questions instead of held-out ones")
    parser.add_argument("--model", default=str(HERE / "tiny_llada"))
    parser.add_argument("--num-prompts", type=int, default=6, help="held-out questions (default: %(default)s)")
    parser.add_argument("--max-new-tokens", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=16)
    options = parser.parse_args(arguments)

    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model: Any = AutoModelForCausalLM.from_pretrained(options.model)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    samples, prompts = None, options.prompts
    if not prompts:
        samples = [task_sample(SEED, index, "test") for index in range(options.num_prompts)]
        prompts = [sample.prompt for sample in samples]
    for prompt in prompts:
        unknown = [token for token in tokenizer.tokenize(prompt) if token == tokenizer.unk_token]
        if unknown:
            print(f"Note: {len(unknown)} words of {prompt!r} are not among the {len(tokenizer)} this model knows.")

    measured = {}
    for name, decoder in tqdm(DECODERS.items(), unit="decoder"):
        measured[name] = measure(
            model, tokenizer, prompts, options.batch_size, max_new_tokens=options.max_new_tokens, **decoder
        )
    print(answers(prompts[:6], measured, samples))
    print(f"\n{table(measured, samples)}\n")
    print(
        f"{len(prompts)} prompts, {options.max_new_tokens} new tokens, block length "
        f"{model.generation_config.block_length}, batch {options.batch_size}; {environment()}"
    )
    return measured


if __name__ == "__main__":
    main()
