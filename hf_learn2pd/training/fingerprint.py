# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""What a file was made with, in a few characters: equal for equal weights, vocabularies and policies, and only then."""

import hashlib
import json
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from accelerate.utils import align_module_device
from torch import nn

__all__ = ["fingerprint_module", "fingerprint_policy", "fingerprint_tensors", "fingerprint_tokenizer"]

# What a config says about where and with what a model was saved, not about what it computes.
_PLACES = ("_name_or_path", "name_or_path", "transformers_version")
# Attributes of a filter that do not change what it decides.
_NOTES = ("base_model", "calibration", "training")


def fingerprint_tensors(tensors: dict[str, torch.Tensor]) -> str:
    """
    Digests names, types, shapes and bytes.

    Args:
        tensors (`dict[str, torch.Tensor]`): On any device.

    Returns:
        `str`: 32 hexadecimal digits.
    """
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def fingerprint_module(module: nn.Module) -> str:
    """
    Digests a model's config and every byte of its weights, about a second per gigabyte.

    Weights are read one layer at a time, those that `device_map` has offloaded as well.

    Args:
        module (`nn.Module`): The model.

    Returns:
        `str`: 32 hexadecimal digits, the same on every device.
    """
    parts = []
    for name in ("config", "generation_config"):
        config: Any = getattr(module, name, None)
        if hasattr(config, "to_dict"):
            known = {key: value for key, value in config.to_dict().items() if key not in _PLACES}
            parts.append(json.dumps(known, sort_keys=True, default=str))
    for name, layer in module.named_modules():
        with align_module_device(layer):
            tensors = dict(layer.named_parameters(recurse=False)) | dict(layer.named_buffers(recurse=False))
            if tensors:
                parts.append(f"{name} {fingerprint_tensors(tensors)}")
    return _digest("\n".join(parts))


def fingerprint_tokenizer(tokenizer: Any) -> str:
    """
    Digests vocabulary, special tokens and chat template.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): The tokenizer.

    Returns:
        `str`: 32 hexadecimal digits.
    """
    names = ("chat_template", "special_tokens_map")
    known = {name: getattr(tokenizer, name, None) for name in names} | {"vocabulary": tokenizer.get_vocab()}
    return _digest(json.dumps(known, sort_keys=True, default=str))


def fingerprint_policy(policy: Any) -> str:
    """
    Describes a policy; two filters of the same shape differ by their weights and thresholds.

    Args:
        policy ([`UnmaskingStrategy`] or [`PassPolicy`], *optional*): The policy, with policies or filters inside.

    Returns:
        `str`: Readable, but for the digests of weights.
    """
    if isinstance(policy, nn.Module):
        known = {key: value for key, value in vars(policy).items() if not key.startswith("_") and key not in _NOTES}
        return f"{type(policy).__name__}({known}, {fingerprint_module(policy)})"
    if is_dataclass(policy) and not isinstance(policy, type):
        # The rest is the memory of a call.
        names = (field.name for field in fields(policy) if field.init)
        values = (f"{name}={fingerprint_policy(getattr(policy, name))}" for name in names)
        return f"{type(policy).__name__}({', '.join(values)})"
    if isinstance(policy, torch.Tensor):
        return f"tensor({fingerprint_tensors({'': policy})})"
    return repr(policy)


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
