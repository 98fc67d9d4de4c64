# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""The token ids that decide how a canvas is read and when it ends."""

from dataclasses import dataclass

import torch
from transformers import PreTrainedConfig

from .configuration import DiffusionGenerationConfig

__all__ = ["SpecialTokens"]


@dataclass(frozen=True)
class SpecialTokens:
    """
    Special tokens of one `generate` call, on the model's device.

    Args:
        mask (`int`): Id of the mask token.
        pad (`int`): Id that fills up finished rows.
        eos (`torch.LongTensor` of shape `(num_eos,)`): Ids that end a text (EoT); empty if there are none.
        never_predicted (`torch.LongTensor` of shape `(num_ids,)`):
            Ids whose logit is -inf: the mask token, EoT with LLaDA's `logits_eos_inf`, and what pads the embedding of
            some models beyond their tokenizer.
        never_confident (`torch.LongTensor` of shape `(num_ids,)`):
            Ids that have confidence 0 where they are predicted, with LLaDA's `confidence_eos_eot_inf`.
    """

    mask: int
    pad: int
    eos: torch.Tensor
    never_predicted: torch.Tensor
    never_confident: torch.Tensor

    @classmethod
    def of(
        cls,
        config: DiffusionGenerationConfig,
        model_config: PreTrainedConfig,
        device: torch.device,
        known: int | None = None,
    ) -> "SpecialTokens":
        """
        Reads the ids from a generation config, or else from the model's config.

        Args:
            config ([`DiffusionGenerationConfig`]): The options.
            model_config (`PreTrainedConfig`): The model's config.
            device (`torch.device`): Where the ids are needed.
            known (`int`, *optional*): Ids that the tokenizer can decode; all of the model's vocabulary if None.

        Raises:
            ValueError: If there is no mask token, or no end-of-text token and `end_of_text` asks for one, or one is not
                in the model's vocabulary.
        """
        mask = config.mask_token_id
        if mask is None:
            mask = getattr(model_config, "mask_token_id", None)
        if mask is None:
            raise ValueError("`mask_token_id` must be set in the model's config or generation config (got None)")
        eos = config.eos_token_id
        if eos is None:
            eos = getattr(model_config, "eos_token_id", None)
        eos = [] if eos is None else eos
        eos = list(eos) if isinstance(eos, list | tuple) else [eos]
        # Without an end of text nothing looks for one, and some models know none but have one in their config.
        used = (
            eos if config.end_of_text or config.expand or config.logits_eos_inf or config.confidence_eos_eot_inf else []
        )
        for name, ids in (("mask_token_id", [mask]), ("eos_token_id", used)):
            if not all(0 <= each < model_config.vocab_size for each in ids):
                size, got = model_config.vocab_size, ids if len(ids) > 1 else ids[0]
                raise ValueError(f"`{name}` must be below the vocabulary's size, {size} (got {got})")
        if (config.end_of_text is not None or config.expand) and not eos:
            wants = "expand" if config.end_of_text is None else f"end_of_text={config.end_of_text!r}"
            raise ValueError(f"`eos_token_id` must be set for `{wants}` (got None)")
        pad = config.pad_token_id
        if pad is None:
            pad = eos[0] if eos else mask
        end_of_turn = getattr(model_config, "end_of_turn_token_id", None)
        ends = eos if end_of_turn is None else [*eos, end_of_turn]

        size = model_config.vocab_size
        padding = range(size if known is None else known, size)
        never = [mask, *(eos if config.logits_eos_inf else []), *padding]

        def tensor(ids: list[int]) -> torch.Tensor:
            return torch.tensor(ids, dtype=torch.long, device=device)

        return cls(
            mask=mask,
            pad=pad,
            eos=tensor(eos),
            never_predicted=tensor(never),
            never_confident=tensor(ends if config.confidence_eos_eot_inf else []),
        )
