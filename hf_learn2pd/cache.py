# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Block KV reuse: the keys and values of a whole canvas, of which a forward pass replaces a window."""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import nn
from transformers import DynamicCache, PreTrainedConfig

from .compatibility import DynamicLayer

__all__ = ["BlockCache", "BlockCacheLayer"]


class BlockCacheLayer(DynamicLayer):
    """One layer: a buffer of keys and one of values for all columns, and views of the columns in use."""

    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.allocated = self.length = self.shown = 0
        self.index: torch.Tensor | None = None
        self.rows: torch.Tensor | None = None
        self.whole = True
        self.buffers: list[torch.Tensor] = []
        self.flat: list[torch.Tensor] = []

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        self.dtype, self.device = key_states.dtype, key_states.device
        # Columns stand before heads, as the projections write them, so that a column is one piece of memory. What
        # stands at 0 takes what is not to be stored, and is never read.
        self.buffers = [
            states.new_zeros((len(states), self.allocated, states.shape[1], states.shape[3]))
            for states in (key_states, value_states)
        ]
        self.flat = [buffer.flatten(0, 1) for buffer in self.buffers]
        self.is_initialized = True
        self.show(0)

    def show(self, length: int) -> None:
        self.shown = length
        self.keys, self.values = (buffer[:, 1 : length + 1].transpose(1, 2) for buffer in self.buffers)

    def grow(self, allocated: int) -> None:
        self.allocated = allocated
        self._change(lambda buffer: nn.functional.pad(buffer, (0, 0, 0, 0, 0, allocated - buffer.shape[1])))

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.show(self.length)
        assert self.index is not None
        index = self.index.to(key_states.device)
        for buffer, states in zip(self.flat, (key_states, value_states), strict=True):
            buffer.index_copy_(0, index, states.transpose(1, 2).flatten(0, 1))
        # What has just been computed is all that a whole row attends to.
        if self.whole:
            return key_states, value_states
        if self.rows is None:
            return self.keys, self.values
        rows = self.rows.to(key_states.device)
        return self.keys.index_select(0, rows), self.values.index_select(0, rows)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return (query_length if self.whole else self.get_seq_length()), 0

    def reset(self) -> None:
        self.buffers, self.flat, self.index = [], [], None
        # Some versions of transformers would only write zeros into what is there.
        self.is_initialized = False
        super().reset()

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        self._change(lambda buffer: buffer.index_select(0, beam_idx.to(buffer.device)))

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        # Copies whole rows, which indexing would do number by number.
        self._change(lambda buffer: buffer.index_select(0, indices.to(buffer.device)))

    def batch_repeat_interleave(self, repeats: int) -> None:
        self._change(lambda buffer: buffer.repeat_interleave(repeats, dim=0))

    def _change(self, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
        if self.is_initialized:
            length = self.get_seq_length()
            self.buffers = [change(buffer) for buffer in self.buffers]
            self.flat = [buffer.flatten(0, 1) for buffer in self.buffers]
            self.show(length)


class BlockCache(DynamicCache):
    r"""
    Keys and values of a canvas that is denoised block by block, for any model that takes a `Cache`.

    A diffusion LLM attends in both directions, so nothing it has computed stays exact once a token is unmasked; but
    what lies outside of the block changes little. A forward pass either *refreshes* rows, over all they have in sight,
    or runs over a *window* of columns and attends to the stored keys and values of all others. With the block as the
    window this is the dual cache, with the block and all that follows it the prefix cache. Buffers are written in
    place and grow with what is in sight; every row has a window of its own.
    Source: https://huggingface.co/papers/2505.22618.

    Args:
        config (`PreTrainedConfig`): The model's config, for its number of layers.
        max_cache_len (`int`): Columns of the longest canvas.

    Example:

    ```python
    >>> cache = BlockCache(model.config, max_cache_len=canvas.shape[1])
    >>> cache.refresh(columns, canvas.shape[1])
    >>> model(canvas, position_ids=columns, cache=cache)
    >>> cache.window(columns[:, 32:64], canvas.shape[1])
    >>> model(canvas[:, 32:64], position_ids=columns[:, 32:64], cache=cache)
    ```
    """

    layer_class: ClassVar[type[BlockCacheLayer]] = BlockCacheLayer

    def __init__(self, config: PreTrainedConfig, max_cache_len: int):
        super().__init__()
        self.layer_class_to_replicate = None
        self.capacity = max_cache_len
        # Columns that hold something.
        self.extent = 0
        layers: list[Any] = [self.layer_class() for _ in range(config.num_hidden_layers)]
        self.layers = layers

    @property
    def batch_size(self) -> int:
        """Rows that are stored; 0 before the first refresh."""
        layer: Any = self.layers[0]
        return len(layer.keys) if layer.is_initialized else 0

    def refresh(self, columns: torch.Tensor, length: int, rows: torch.Tensor | None = None) -> None:
        """
        Makes the next forward pass compute, and store, all that rows have in sight; they attend to nothing else.

        Args:
            columns (`torch.LongTensor` of shape `(num_rows, width)`):
                Where each position stands; one that is not from 0 to `length` is computed but not stored.
            length (`int`): Columns that are in use afterwards, at least.
            rows (`torch.LongTensor` of shape `(num_rows,)`, *optional*): The rows it is given; all when None.
        """
        self._check(length)
        self.extent = max(self.extent, length)
        self._place(columns, rows, self.extent, whole=True)

    def window(self, columns: torch.Tensor, length: int, beside: int = 0, rows: torch.Tensor | None = None) -> None:
        """
        Makes the next forward pass compute the columns it is given, and attend to all that is stored of their rows.

        Args:
            columns (`torch.LongTensor` of shape `(num_rows, width)`):
                Where each of its positions stands; one that is not from 0 to `length` is computed but not stored.
            length (`int`): Columns that are attended to.
            beside (`int`, *optional*, defaults to 0):
                More columns, from `extent` on, for what is only tried out. What may attend to what is then for the
                attention mask to say.
            rows (`torch.LongTensor` of shape `(num_rows,)`, *optional*): The rows it is given; all when None.

        Raises:
            ValueError: If nothing is stored yet, or `length` is more than there is room for.
        """
        if not self.is_initialized:
            raise ValueError("`refresh` must come before the first `window` (got an empty cache)")
        self._check(length)
        self.extent = max(self.extent, length)
        self._place(columns, rows, self.extent + beside if beside else length, whole=False)

    def _check(self, length: int) -> None:
        if not 0 < length <= self.capacity:
            raise ValueError(f"`length` must be between 1 and {self.capacity} (got {length})")

    def _place(self, columns: torch.Tensor, rows: torch.Tensor | None, length: int, whole: bool) -> None:
        layer: Any = self.layers[0]
        allocated = layer.allocated
        if length >= allocated:
            # Half as much again, so that a canvas that comes into sight block by block is seldom copied.
            allocated = length + 1 + (length // 2 if allocated else 0)
        everyone = torch.arange(len(columns), device=columns.device) if rows is None else rows
        stored = (columns + 1).masked_fill((columns < 0) | (columns >= length), 0)
        index = (everyone[:, None] * allocated + stored).flatten()
        for layer in self.layers:
            if allocated > layer.allocated:
                layer.grow(allocated)
            layer.index, layer.rows, layer.whole, layer.length = index, rows, whole, length
            if layer.is_initialized and layer.shown != length:
                layer.show(length)
