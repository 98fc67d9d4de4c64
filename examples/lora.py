# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Trains a LoRA adapter in a loop of one's own and saves the adapter alone; needs `pip install peft`."""

import argparse
from typing import Any

import torch
from finetune import CHECKPOINT, tokenize
from peft import LoraConfig, PeftModel, get_peft_model
from tasks import task_sample
from transformers import AutoModelForCausalLM, AutoTokenizer

from hf_learn2pd import DataCollatorForMaskedDiffusion


def main(arguments: list[str] | None = None) -> Any:
    """
    Trains and saves an adapter, loads it again, and prints an answer without it and with it.

    Args:
        arguments (`list[str]`, *optional*): The command line.

    Returns:
        `PeftModel`: The model with the adapter that was loaded.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=str(CHECKPOINT), help="Hub id or directory of a model of this package")
    parser.add_argument("--output", default="adapter", help="directory for the adapter")
    parser.add_argument("--steps", type=int, default=100, help="optimiser steps")
    parser.add_argument("--batch_size", type=int, default=16, help="texts per step")
    options = parser.parse_args(arguments)

    tokenizer = AutoTokenizer.from_pretrained(options.model)
    # PEFT knows which modules of these models to adapt.
    adapter = LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=16)
    model: Any = get_peft_model(AutoModelForCausalLM.from_pretrained(options.model), adapter)
    collator = DataCollatorForMaskedDiffusion(model.config.mask_token_id, tokenizer.pad_token_id)
    optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], lr=1e-4)
    for step in range(options.steps):
        samples = [task_sample(1, step * options.batch_size + row) for row in range(options.batch_size)]
        batch = collator([tokenize(tokenizer, sample.prompt, sample.answer) for sample in samples])
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(options.output)

    loaded: Any = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(options.model), options.output)
    prompt = torch.tensor([tokenize(tokenizer, task_sample(7, 0, "test").prompt, "")["input_ids"][:-1]])
    with loaded.disable_adapter():
        print("without:", tokenizer.decode(loaded.generate(prompt)[0], skip_special_tokens=True))
    print("with:", tokenizer.decode(loaded.generate(prompt)[0], skip_special_tokens=True))
    return loaded


if __name__ == "__main__":
    main()
