# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Fine-tunes a masked diffusion model with LoRA and plain `Trainer`; needs `pip install peft`."""

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments

from hf_learn2pd import DataCollatorForMaskedDiffusion

CHECKPOINT = Path(__file__).parent / "tiny_llada"
sys.path.insert(0, str(CHECKPOINT / "training"))

from tasks import task_sample


def tokenize(tokenizer: Any, prompt: str, answer: str) -> dict[str, list[int]]:
    """Makes a chat of a prompt and an answer; labels of -100 say that the prompt is never masked."""
    chat = [{"role": "user", "content": prompt}]
    head = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True)["input_ids"]
    body = tokenizer(answer, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
    return {"input_ids": head + body, "labels": [-100] * len(head) + body}


def main(arguments: list[str] | None = None) -> Any:
    """
    Trains the adapter, and saves the model with the adapter merged into it.

    Args:
        arguments (`list[str]`, *optional*): The command line.

    Returns:
        `PreTrainedModel`: What has been saved.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=str(CHECKPOINT), help="Hub id or directory of a LLaDA, Dream or LLaDA-MoE")
    parser.add_argument("--output", default="finetuned", help="directory for the merged model")
    parser.add_argument("--steps", type=int, default=100, help="optimiser steps")
    parser.add_argument("--batch_size", type=int, default=16, help="texts per step")
    parser.add_argument("--learning_rate", type=float, default=1e-4, help="peak learning rate of the adapter")
    options = parser.parse_args(arguments)

    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = AutoModelForCausalLM.from_pretrained(options.model)
    samples = [task_sample(1, index) for index in range(options.steps * options.batch_size)]
    adapter = LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"])
    trainer = Trainer(
        model=get_peft_model(model, adapter),
        args=TrainingArguments(
            output_dir=f"{options.output}/trainer",
            max_steps=options.steps,
            per_device_train_batch_size=options.batch_size,
            learning_rate=options.learning_rate,
            save_strategy="no",
            report_to="none",
            dataloader_pin_memory=torch.cuda.is_available(),
        ),
        train_dataset=[tokenize(tokenizer, sample.prompt, sample.answer) for sample in samples],
        data_collator=DataCollatorForMaskedDiffusion(model.config.mask_token_id, tokenizer.pad_token_id),
    )
    trainer.train()
    adapted: Any = trainer.model
    merged = adapted.merge_and_unload()
    merged.save_pretrained(options.output)
    tokenizer.save_pretrained(options.output)
    return merged


if __name__ == "__main__":
    main()
