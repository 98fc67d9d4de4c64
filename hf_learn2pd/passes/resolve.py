# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
from typing import Any

from ..blocks import FixedBlocks
from ..compatibility import attention_implementation
from .base import PassPolicy
from .block_causal import BlockCausal
from .dual_cache import DualCache
from .full_canvas import FullCanvas
from .neighbour_cache import NeighbourCache
from .prefix_cache import PrefixCache
from .sliding_cache import SlidingCache
from .windows import Windows

__all__ = ["PASS_POLICIES", "resolve_policy"]

PASS_POLICIES: dict[str, type[Windows]] = {
    "prefix": PrefixCache,
    "dual": DualCache,
    "local": NeighbourCache,
    "sliding": SlidingCache,
}


def resolve_policy(block_cache: str | PassPolicy | None, config: Any, model: Any, schedule: FixedBlocks) -> PassPolicy:
    """
    Makes a pass policy of what `generate` was given.

    Args:
        block_cache (`str` or [`PassPolicy`], *optional*): A key of `PASS_POLICIES`, or an instance, which is returned.
        config ([`DiffusionGenerationConfig`]): The other options.
        model ([`DiffusionGenerationMixin`]): The model.
        schedule ([`FixedBlocks`]): Where blocks end.

    Returns:
        [`PassPolicy`]

    Raises:
        ValueError: If the model cannot make such passes, or they cannot serve such blocks.
    """
    if model.block_causal:
        for name, asked in (("infill", config.infill), ("expand", config.expand)):
            if asked:
                raise ValueError(
                    f"`{name}` must be False for a block-causal model, which sees nothing right of a block "
                    f"(got {asked!r})"
                )
        for name, value in (("block_cache", block_cache), ("suffix_length", config.suffix_length)):
            if value is not None and not isinstance(value, BlockCausal):
                raise ValueError(f"`{name}` must be None for a block-causal model, which always reuses (got {value!r})")
        policy: PassPolicy = block_cache if isinstance(block_cache, BlockCausal) else BlockCausal()
    elif isinstance(block_cache, BlockCausal):
        raise ValueError(f"`block_cache` must not be BlockCausal for {type(model).__name__}, which sees all blocks")
    elif isinstance(block_cache, PassPolicy):
        policy = block_cache
    else:
        policy = FullCanvas() if block_cache is None else PASS_POLICIES[block_cache](config.refresh_every)
    if isinstance(block_cache, PassPolicy) and config.refresh_every is not None:
        raise ValueError(
            f"`refresh_every` must be an option of the policy that is given (got {config.refresh_every} beside it)"
        )
    if schedule.slides and not policy.slides:
        raise ValueError(
            "`block_cache` must be sliding, local or None with sliding blocks, which would leave keys and values of "
            f"masks behind (got {block_cache!r})"
        )
    attention = attention_implementation(model.config)
    # Flash attention takes queries to be the last columns of its mask; behind a cut or a short answer, or beside a
    # draft, some are hidden.
    hides = config.verify or config.expand or config.end_of_text in ("cut", "predicted")
    if model.block_causal and "flash" in attention:
        raise ValueError(
            "`attn_implementation` must take a mask with a row for each position, as sdpa and eager do, for a "
            f"block-causal model (got {attention})"
        )
    if policy.stores and not model.takes_block_cache:
        raise ValueError(f"`block_cache` must be None for a model that takes no cache (got {block_cache!r})")
    if policy.stores and hides and "flash" in attention:
        unseen = "verify" if config.verify else "expand" if config.expand else f"end_of_text={config.end_of_text!r}"
        raise ValueError(f"`block_cache` must be None with {attention} and `{unseen}` (got {block_cache!r})")
    if policy.stores and config.verify and not model.takes_query_mask:
        raise ValueError(
            f"`verify` must be False with a `block_cache` for a model that is causal, or not known to take a mask for "
            f"each position (got {type(model).__name__})"
        )
    return policy
