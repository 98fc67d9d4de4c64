# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""What families share: no causality, the loss of masked diffusion, and a filter that is saved with its model."""

import copy
import os
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional

from ..filter.hub import find_filter
from ..generation import DiffusionGenerationMixin

__all__ = [
    "BidirectionalConfigMixin",
    "BidirectionalMixin",
    "MaskedDiffusionMixin",
    "make_bidirectional",
    "masked_diffusion_loss",
    "write_rope",
]

FILTER_FOLDER = "unmasking_filter"


def make_bidirectional(decoder: Any) -> None:
    """
    Takes causality out of a decoder, and gives its padding token an embedding like any other.

    Args:
        decoder (`PreTrainedModel`): A headless Llama, Qwen2 or Qwen3-MoE, just made.
    """
    for layer in decoder.layers:
        # Without padding there is no mask at all and the attention kernels fall back to this flag.
        layer.self_attn.is_causal = False
    embedding: nn.Embedding = decoder.embed_tokens
    if embedding.padding_idx is not None and embedding.weight.device.type != "meta":
        # Padding and end-of-text are one token here, which is read and learned; transformers has zeroed its row.
        nn.init.normal_(embedding.weight.data[embedding.padding_idx], std=decoder.config.initializer_range)
    decoder.padding_idx = embedding.padding_idx = None


class BidirectionalConfigMixin:
    """
    Takes causality and sliding windows out of a configuration of transformers, given as the next base class.

    Raises:
        ValueError: If a sliding window is asked for.
    """

    # Read by transformers' `create_causal_mask`, which then builds a bidirectional mask.
    is_causal = False

    def __post_init__(self, **kwargs: Any) -> None:
        config: Any = self
        if config.use_sliding_window:
            raise ValueError(f"`use_sliding_window` must be False for a {config.model_type} model here (got True)")
        parent: Any = super()
        parent.__post_init__(**kwargs)
        # Official files say True, but what grows token by token is wrong for a model that looks ahead.
        config.use_cache = False


class BidirectionalMixin:
    """Takes causality out of a headless model of transformers, given as the next base class."""

    def __init__(self, config: Any):
        super().__init__(config)  # type: ignore[call-arg]
        make_bidirectional(self)


def write_rope(output: dict[str, Any]) -> dict[str, Any]:
    """
    Writes a plain RoPE into the fields that official configs have for it, instead of `rope_parameters`.

    Args:
        output (`dict[str, Any]`): A serialized config.

    Returns:
        `dict[str, Any]`: The same with `rope_theta`, and `partial_rotary_factor` if it has one.
    """
    plain = ("rope_theta", "partial_rotary_factor")
    if not set(output["rope_parameters"]) <= {"rope_type", *plain}:
        return output
    rope = output["rope_parameters"]
    others = {name: value for name, value in output.items() if name != "rope_parameters"}
    return others | {name: rope[name] for name in plain if name in rope}


def masked_diffusion_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    vocab_size: int | None = None,
    num_items_in_batch: torch.Tensor | int | None = None,
    ignore_index: int = -100,
    loss_weights: torch.Tensor | None = None,
    logits_shift: int = 0,
    shift_labels: torch.Tensor | None = None,
    **kwargs: Any,
) -> torch.Tensor:
    """
    Cross entropy at the masked positions, summed and divided by their number.

    Args:
        logits (`torch.Tensor` of shape `(batch_size, sequence_length, vocab_size)`):
            Output of the model for a noisy canvas.
        labels (`torch.LongTensor` of shape `(batch_size, sequence_length)`):
            The clean ids at the masked positions, `ignore_index` elsewhere.
        vocab_size (`int`, *optional*):
            Part of the signature that transformers calls; the logits tell it.
        num_items_in_batch (`torch.Tensor` or `int`, *optional*):
            The number to divide by, where a batch is a part of a larger one (`Trainer` accumulates gradients so).
        ignore_index (`int`, *optional*, defaults to -100):
            Label of the positions that do not count.
        loss_weights (`torch.FloatTensor` of shape `(batch_size,)`, *optional*):
            Weight of each row's cross entropies, see [`DataCollatorForMaskedDiffusion`].
        logits_shift (`int`, *optional*, defaults to 0):
            Columns to the left at which a token is predicted.
        shift_labels (`torch.LongTensor` of the shape of `labels`, *optional*):
            Labels that stand already where they are predicted, in place of `labels`.
        kwargs:
            Other arguments that `forward` hands on; not used.

    Returns:
        `torch.FloatTensor`: A scalar, 0 where nothing is masked.

    Raises:
        ValueError: If there is not one weight per row.
    """
    labels = (labels if shift_labels is None else shift_labels).to(logits.device)
    if logits_shift and shift_labels is None:
        labels = functional.pad(labels, (0, logits_shift), value=ignore_index)[:, logits_shift:]
    learned = labels != ignore_index
    losses = functional.cross_entropy(logits[learned].float(), labels[learned], reduction="none")
    if loss_weights is not None:
        if loss_weights.shape != labels.shape[:1]:
            got = tuple(loss_weights.shape)
            raise ValueError(f"`loss_weights` must be one number per row, of shape ({len(labels)},) (got {got})")
        losses = losses * loss_weights.to(losses)[:, None].expand_as(labels)[learned]
    count = learned.sum() if num_items_in_batch is None else torch.as_tensor(num_items_in_batch, device=losses.device)
    return losses.sum() / count.clamp(min=1)


class MaskedDiffusionMixin(DiffusionGenerationMixin):
    """
    Makes a masked diffusion model of a causal one of transformers, given as the next base class.

    `forward(labels=...)` computes [`masked_diffusion_loss`] with the optional `loss_weights`; nothing is shifted but by
    the model's `logits_shift`. `generate` is [`DiffusionGenerationMixin.generate`].

    A `LoraConfig` of PEFT without `target_modules` adapts `lora_target_modules`, if PEFT was imported before the model
    was made; by `add_adapter` always.
    """

    # As PEFT has it for Llama, Qwen2 and Qwen3.
    lora_target_modules: ClassVar[tuple[str, ...]] = ("q_proj", "v_proj")

    def __init__(self, config: Any):
        super().__init__(config)  # type: ignore[call-arg]
        model: Any = self
        make_bidirectional(model.model)
        model.loss_function = partial(masked_diffusion_loss, logits_shift=self.logits_shift)
        # `Trainer` counts the labels from the second one on where the loss shifts them.
        model.loss_type = "ForCausalLM" if self.logits_shift else "ForMaskedLM"
        self._offer_lora_targets()

    def _offer_lora_targets(self) -> None:
        """Tells PEFT the target modules of this model type. It has a table, and asks neither model nor config."""
        constants = sys.modules.get("peft.utils.constants")
        if constants is not None:
            table = constants.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
            table.setdefault(self.config.model_type, list(self.lora_target_modules))

    def add_adapter(self, adapter_config: Any, adapter_name: str | None = None) -> None:
        """
        Adds an adapter of PEFT to the model.

        Args:
            adapter_config (`PeftConfig`): What it adapts; of a `LoraConfig` without them, `lora_target_modules`.
            adapter_name (`str`, *optional*): `"default"` if None.
        """
        self._offer_lora_targets()
        parent: Any = super()
        parent.add_adapter(adapter_config, adapter_name)

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        is_main_process: bool = True,
        state_dict: dict[str, torch.Tensor] | None = None,
        push_to_hub: bool = False,
        **kwargs: Any,
    ) -> None:
        r"""
        Saves the model, and beside it the filter that its generation config stands for.

        The filter goes into the folder `unmasking_filter`, where `generate` looks for it when the saved generation
        config names none. A filter with a Hub id of its own stays where it is.

        Args:
            save_directory (`str` or `os.PathLike`):
                Where to.
            is_main_process (`bool`, *optional*, defaults to `True`):
                Whether this process is the one that writes.
            state_dict (`dict[str, torch.Tensor]`, *optional*):
                What to save in place of the model's own weights.
            push_to_hub (`bool`, *optional*, defaults to `False`):
                Whether to upload the model as well.
            kwargs:
                Options of [`~PreTrainedModel.save_pretrained`] and [`~PreTrainedModel.push_to_hub`].
        """
        parent: Any = super()
        names = ("repo_id", "commit_message", "commit_description", "private", "create_pr", "revision", "tags")
        hub = {name: kwargs.pop(name) for name in names if name in kwargs}
        parent.save_pretrained(save_directory, is_main_process=is_main_process, state_dict=state_dict, **kwargs)
        if is_main_process:
            self._carry_filter(Path(save_directory))
        if push_to_hub and is_main_process:
            model: Any = self
            # transformers uploads before there is a filter beside the model; this saves it once more.
            model.push_to_hub(**{"repo_id": Path(save_directory).name} | hub | {"token": kwargs.get("token")})

    def _carry_filter(self, directory: Path) -> None:
        """Copies the filter of the generation config into the directory of a model that has just been saved."""
        config: Any = copy.deepcopy(self.generation_config)
        home = str(getattr(self, "name_or_path", ""))
        named = config.unmasking_filter
        if isinstance(named, os.PathLike):
            named = os.fspath(named)
        if named is None and home and (os.path.isdir(home) or config.decoding == "learn2pd"):
            named = f"{home}:{FILTER_FOLDER}"
        if not isinstance(named, str):
            return
        local = os.path.isdir(named) or os.path.isdir(named.partition(":")[0])
        if not local and named.partition(":")[0] != home:
            return
        try:
            source = Path(find_filter(named)).resolve()
        except (OSError, ValueError):
            # The model has none, or it cannot be had now: its Hub id still says where it is.
            source = None
        if source is not None:
            if directory.resolve() in source.parents:
                return
            shutil.copytree(source, directory / FILTER_FOLDER, dirs_exist_ok=True)
        if source is not None or not local:
            config.unmasking_filter = None if source is not None else named
            config.save_pretrained(directory)
