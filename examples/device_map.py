# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Answer a question with a model that is spread over all GPUs, the CPU's memory and the disk, as accelerate sees fit.

python examples/device_map.py
python examples/device_map.py "Why is the sky blue?" --model GSAI-ML/LLaDA-8B-Instruct --decoding threshold
python examples/device_map.py --max-memory 0=10GB cpu=20GB --offload-folder offloaded  # what is too large goes to disk
"""

import argparse
from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM, AutoTokenizer

import hf_learn2pd

__all__ = ["main"]

QUESTION = "reverse the list cat, dog, owl, pig."


def read_memory(words: list[str]) -> dict[int | str, str]:
    """Reads devices and how much of their memory may be used: `0=10GB` is the first GPU's, `cpu=20GB` the CPU's."""
    pairs = [word.split("=") for word in words]
    return {int(device) if device.isdecimal() else device: size for device, size in pairs}


def main(arguments: list[str] | None = None) -> Any:
    """Loads a model, prints where its parts are and its answer, and returns it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prompt", nargs="?", default=QUESTION)
    parser.add_argument("--model", default=str(Path(__file__).parent / "tiny_llada"))
    parser.add_argument("--decoding", choices=hf_learn2pd.UNMASKING_STRATEGIES, help="default: the model's own")
    parser.add_argument("--max-memory", nargs="+", help="by device, such as 0=10GB cpu=20GB (default: all)")
    parser.add_argument("--offload-folder", help="for what fits nowhere else")
    options = parser.parse_args(arguments)

    tokenizer: Any = AutoTokenizer.from_pretrained(options.model)
    model: Any = AutoModelForCausalLM.from_pretrained(
        options.model,
        dtype="auto",
        device_map="auto",
        max_memory=read_memory(options.max_memory) if options.max_memory else None,
        offload_folder=options.offload_folder,
    )
    chat = [{"role": "user", "content": options.prompt}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    output = model.generate(**inputs.to(model.device), decoding=options.decoding)
    # There is no map where a single device holds the model.
    print(getattr(model, "hf_device_map", model.device))
    print(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
    return model


if __name__ == "__main__":
    main()
