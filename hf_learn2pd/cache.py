# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Block KV reuse: the keys and values of a whole canvas, of which a forward pass replaces a window."""

from collections.abc import Callable
from typing import Any

import torch
from transformers import DynamicCache, PreTrainedConfig

from .compatibility import DynamicLayer

__all__ = ["BlockCache"]


class _BlockCacheLayer(DynamicLayer):
    """One layer: a buffer of keys and one of values for all columns, and views of the columns in use."""

    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self, capacity: int, drafts: int) -> None:
        super().__init__()
        self.capacity = capacity
        self.drafts = drafts
        self.rows: torch.Tensor | None = None
        self.index: torch.Tensor | None = None
        self.buffers: list[torch.Tensor] = []

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        self.dtype, self.device = key_states.dtype, key_states.device
        # The column behind the last takes what a window has behind the end of the canvas, and is never read; then come
        # those of drafts. Columns stand before heads, as the projections write them, so that a column is one piece of
        # memory.
        self.buffers = [
            states.new_zeros((len(states), self.capacity + 1 + self.drafts, states.shape[1], states.shape[3]))
            for states in (key_states, value_states)
        ]
        self.is_initialized = True
        self.show(0)

    def show(self, length: int) -> None:
        self.keys, self.values = (buffer[:, :length].transpose(1, 2) for buffer in self.buffers)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        new = zip(self.buffers, (key_states, value_states), strict=True)
        if self.index is not None:
            index = self.index.to(key_states.device)
            for buffer, states in new:
                buffer.flatten(0, 1).index_copy_(0, index, states.transpose(1, 2).flatten(0, 1))
            return self.keys, self.values
        length = key_states.shape[-2]
        self.show(length if self.rows is None else max(length, self.get_seq_length()))
        for buffer, states in new:
            if self.rows is None:
                buffer[:, :length] = states.transpose(1, 2)
            else:
                buffer[self.rows, :length] = states.transpose(1, 2)
        # What has just been computed is all that these rows attend to.
        return key_states, value_states

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return (query_length if self.index is None else self.get_seq_length()), 0

    def reset(self) -> None:
        self.buffers, self.rows, self.index = [], None, None
        # Some versions of transformers would only write zeros into what is there.
        self.is_initialized = False
        super().reset()

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        self._change_rows(lambda buffer: buffer.index_select(0, beam_idx.to(buffer.device)))

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        self._change_rows(lambda buffer: buffer[indices])

    def batch_repeat_interleave(self, repeats: int) -> None:
        self._change_rows(lambda buffer: buffer.repeat_interleave(repeats, dim=0))

    def _change_rows(self, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
        if self.is_initialized:
            length = self.get_seq_length()
            self.buffers = [change(buffer) for buffer in self.buffers]
            self.show(length)


class BlockCache(DynamicCache):
    r"""
    Keys and values of a canvas that is denoised block by block, for any model that takes a `Cache`.

    A diffusion LLM attends in both directions, so nothing it has computed stays exact once a token is unmasked; but
    what lies outside of the block changes little. A forward pass either *refreshes* rows, over their whole canvas, or
    runs over a *window* of columns and attends to the stored keys and values of all others. With the block as the
    window this is the dual cache, with the block and all that follows it the prefix cache. The buffers are allocated
    once and written in place; every row has a window of its own.
    Source: https://huggingface.co/papers/2505.22618.

    Args:
        config (`PreTrainedConfig`): The model's config, for its number of layers.
        max_cache_len (`int`): Columns of the longest canvas.
        max_drafts (`int`, *optional*, defaults to 0): Columns beside the canvas, for windows that are only tried out.

    Example:

    ```python
    >>> cache = BlockCache(model.config, max_cache_len=canvas.shape[1])
    >>> cache.refresh()
    >>> model(canvas, position_ids=columns, cache=cache)
    >>> cache.window(columns[:, 32:64], canvas.shape[1])
    >>> model(canvas[:, 32:64], position_ids=columns[:, 32:64], cache=cache)
    ```
    """

    def __init__(self, config: PreTrainedConfig, max_cache_len: int, max_drafts: int = 0):
        super().__init__()
        self.layer_class_to_replicate = None
        self.capacity = max_cache_len
        self.max_drafts = max_drafts
        layers: list[Any] = [_BlockCacheLayer(max_cache_len, max_drafts) for _ in range(config.num_hidden_layers)]
        self.layers = layers

    @property
    def batch_size(self) -> int:
        """Rows that are stored; 0 before the first refresh."""
        layer: Any = self.layers[0]
        return len(layer.keys) if layer.is_initialized else 0

    def refresh(self, rows: torch.Tensor | None = None) -> None:
        """
        Makes the next forward pass compute, and store, whole canvases.

        Args:
            rows (`torch.LongTensor` of shape `(num_rows,)`, *optional*): The rows it is given; all when None.
        """
        layer: Any
        for layer in self.layers:
            layer.rows, layer.index = rows, None

    def window(self, columns: torch.Tensor, length: int) -> None:
        """
        Makes the next forward pass compute the columns it is given, and attend to all that is stored.

        Args:
            columns (`torch.LongTensor` of shape `(rows, width)`):
                Where each of its positions stands; from `length` on they are computed but not stored.
            length (`int`): Columns that are attended to.

        Raises:
            ValueError: If nothing is stored yet, or `length` is more than there is room for.
        """
        if not self.is_initialized:
            raise ValueError("`refresh` must come before the first `window` (got an empty cache)")
        if not 0 < length <= self.capacity:
            raise ValueError(f"`length` must be between 1 and {self.capacity} (got {length})")
        self._place(columns.masked_fill(columns >= length, self.capacity), length)

    def try_out(self, rows: int, width: int) -> int:
        """
        Makes the next forward pass compute windows beside the canvas, which replace nothing that is stored.

        What they may attend to is for the attention mask to say, of shape `(rows, 1, width, stored + width)`.

        Args:
            rows (`int`): Rows of the batch.
            width (`int`): Positions of all windows of a row.

        Returns:
            `int`: Columns that stand before those of the windows.

        Raises:
            ValueError: If there is no room for them.
        """
        if width > self.max_drafts:
            raise ValueError(f"`width` must be at most {self.max_drafts} (got {width})")
        stored = self.capacity + 1
        layer: Any = self.layers[0]
        self._place(torch.arange(stored, stored + width, device=layer.device).expand(rows, -1), stored + width)
        return stored

    def _place(self, columns: torch.Tensor, length: int) -> None:
        first = torch.arange(len(columns), device=columns.device) * (self.capacity + 1 + self.max_drafts)
        index = (first[:, None] + columns).flatten()
        layer: Any
        for layer in self.layers:
            layer.index = index
            layer.show(length)
