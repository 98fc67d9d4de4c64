# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Answer a question with weights of 8 bits; needs `pip install torchao`.

python examples/quantize.py
python examples/quantize.py "Why is the sky blue?" --model GSAI-ML/LLaDA-8B-Instruct --decoding threshold
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from torchao.quantization import Int8WeightOnlyConfig
from torchao.utils import get_model_size_in_bytes
from transformers import AutoModelForCausalLM, AutoTokenizer, TorchAoConfig

import hf_learn2pd

__all__ = ["main"]

QUESTION = "reverse the list cat, dog, owl, pig."


def main(arguments: list[str] | None = None) -> Any:
    """Loads and quantises a model, prints its answer with what it took, and returns it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prompt", nargs="?", default=QUESTION)
    parser.add_argument("--model", default=str(Path(__file__).parent / "tiny_llada"))
    parser.add_argument("--decoding", choices=hf_learn2pd.UNMASKING_STRATEGIES, help="default: the model's own")
    options = parser.parse_args(arguments)

    tokenizer: Any = AutoTokenizer.from_pretrained(options.model)
    model: Any = AutoModelForCausalLM.from_pretrained(
        options.model,
        dtype="auto",
        device_map="cuda" if torch.cuda.is_available() else "cpu",
        quantization_config=TorchAoConfig(Int8WeightOnlyConfig()),
    )
    chat = [{"role": "user", "content": options.prompt}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    # A filter for the full weights serves these as well; its threshold may be calibrated anew with them.
    output = model.generate(**inputs.to(model.device), decoding=options.decoding, return_dict_in_generate=True)
    print(tokenizer.decode(output.sequences[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
    print(f"{get_model_size_in_bytes(model) / 1e6:.1f} MB, {int(output.nfe)} forward passes")
    return model


if __name__ == "__main__":
    main()
