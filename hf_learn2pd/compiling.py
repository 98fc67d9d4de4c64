# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Compiled passes: tensors of few sizes, a cache whose buffers keep their place, and the compiled decoder."""

from collections.abc import Callable
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import nn
from transformers import CompileConfig, PreTrainedConfig

from .cache import BlockCache, BlockCacheLayer
from .compatibility import attention_implementation, is_compiled
from .passes import ForwardPass

__all__ = ["Compiled", "Padded", "StaticBlockCache", "round_columns", "round_rows"]


def round_rows(rows: int) -> int:
    """The power of two that is not below `rows`."""
    return 1 << (rows - 1).bit_length()


def round_columns(columns: int) -> int:
    """The multiple of 16 that is not below `columns`; above 128, of an eighth of the next power of two."""
    step = max(16, (1 << (columns - 1).bit_length()) // 8)
    return -(-columns // step) * step


class _StaticLayer(BlockCacheLayer):
    """One layer: buffers that keep their place when rows leave, of which all columns are attended to."""

    dynamic = True

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        # What is made in inference mode can be written to nowhere else.
        with torch.inference_mode(False):
            super().lazy_initialization(key_states, value_states)
        self.flat = []
        for buffer in self.buffers:
            torch._dynamo.mark_static_address(buffer, guard=False)
            if self.dynamic:
                torch._dynamo.maybe_mark_dynamic(buffer, (0, 1))

    def begin(self, rows: int, allocated: int) -> None:
        """Makes room for another call; the place changes only if more is needed than ever before."""
        self.allocated = allocated
        for buffer in self.buffers:
            # What nobody sees is multiplied by 0, so it must be a number.
            buffer.resize_(rows, allocated, *buffer.shape[2:]).zero_()

    def show(self, length: int) -> None:
        """What is in use is for the mask to show."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.index is not None
        index = self.index.to(key_states.device)
        for buffer, states in zip(self.buffers, (key_states, value_states), strict=True):
            buffer.flatten(0, 1).index_copy_(0, index, states.transpose(1, 2).flatten(0, 1))
        if self.whole:
            return key_states, value_states
        keys, values = (buffer[: len(key_states), 1:].transpose(1, 2) for buffer in self.buffers)
        return keys, values

    def get_seq_length(self) -> int:
        return self.length if self.is_initialized else 0

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        for buffer in self.buffers:
            buffer[: len(indices)] = buffer.index_select(0, indices.to(buffer.device))

    def _change(self, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
        for buffer in self.buffers:
            changed = change(buffer)
            buffer.resize_(changed.shape).copy_(changed)


class StaticBlockCache(BlockCache):
    """
    A [`BlockCache`] for compiled passes: its buffers have few sizes and keep their place, in this call and the next.

    Args:
        config (`PreTrainedConfig`): The model's config, for its number of layers.
        max_cache_len (`int`): Columns of the longest canvas.
        rows (`int`): Rows of the batch before any has left.
        dynamic (`bool`, *optional*, defaults to `True`): Whether graphs are to serve buffers of other sizes as well.
    """

    layer_class = _StaticLayer

    def __init__(self, config: PreTrainedConfig, max_cache_len: int, rows: int, dynamic: bool = True):
        super().__init__(config, max_cache_len)
        layer: Any
        for layer in self.layers:
            layer.dynamic = dynamic
        self.begin(max_cache_len, rows)

    def begin(self, max_cache_len: int, rows: int) -> None:
        """Forgets everything, and makes room for a call with other sizes; arguments are those of the class."""
        self.capacity, self.rows, self.extent = max_cache_len, rows, 0
        layer: Any
        for layer in self.layers:
            layer.begin(round_rows(rows), round_columns(max_cache_len) + 1)

    @property
    def batch_size(self) -> int:
        return self.rows

    def reserve(self, columns: int) -> int:
        """Makes room for so many columns, and says how many a window attends to, whether they hold something or not."""
        layer: Any
        for layer in self.layers:
            if layer.allocated <= columns:
                layer.grow(round_columns(columns) + 1)
        allocated: int = layer.allocated
        return allocated - 1

    def _place(self, *args: Any, **kwargs: Any) -> None:
        super()._place(*args, **kwargs)
        layer: Any = self.layers[0]
        # No view of another tensor, whose sizes would count as well.
        index = layer.index.clone()
        if layer.dynamic:
            torch._dynamo.maybe_mark_dynamic(index, 0)
        for layer in self.layers:
            layer.index = index

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        super().batch_select_indices(indices)
        self.rows = len(indices)


# Caches of finished calls, by model, and what their buffers were made for.
_KEPT: WeakKeyDictionary[nn.Module, tuple[Any, StaticBlockCache]] = WeakKeyDictionary()


class Padded(NamedTuple):
    """
    A pass of one of few sizes.

    Args:
        ids, positions (`torch.LongTensor` of shape `(rows, width)`): What the model reads, and where it stands.
        visible (`torch.BoolTensor` of shape `(rows, 1, 1 or width, keys)`): Which keys may be seen.
        targets (`torch.LongTensor` of shape `(rows, width)`, *optional*): Where it is stored; -1 for nowhere.
        rows (`torch.LongTensor` of shape `(rows,)`, *optional*): Which rows of the cache these are; all if None.
        at (`slice` or `torch.LongTensor`): Which rows are those of the pass that was padded.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    visible: torch.Tensor
    targets: torch.Tensor | None
    rows: torch.Tensor | None
    at: Any


class Compiled:
    r"""
    The compiled decoder in one call of `generate`.

    Compiled code is made for tensors of one size, or of one number of dimensions, and CUDA graphs replay on the
    addresses that they were recorded with. So passes are padded to few sizes, with columns that nobody sees and rows
    that nobody reads, and what is stored keeps its place. Sizes are marked as dynamic: one graph serves them all but
    batches of one row, which have their own, and so have passes that attend to what is stored.

    Args:
        model ([`DiffusionGenerationMixin`]): The model.
        rows (`int`): Rows that go through the model at the beginning.
        compile_config (`CompileConfig`, *optional*): Arguments of `torch.compile`; None where the decoder is compiled.

    Raises:
        ValueError: If the model's attention takes no mask of this kind, or `torch.compile` refuses the arguments.
    """

    def __init__(self, model: Any, rows: int, compile_config: CompileConfig | None):
        attention = attention_implementation(model.config)
        if attention not in ("sdpa", "eager"):
            raise ValueError(
                f"`compile_config` must be None, and the model not compiled, with attention other than sdpa or eager, "
                f"for padded passes need their mask (got {attention})"
            )
        self.model, self.rows, self.dynamic = model, rows, True
        self.decoder, _ = model.denoising_modules()
        self.last_cache: StaticBlockCache | None = None
        if compile_config is not None:
            self.dynamic = compile_config.dynamic is not False
            self.decoder = _compile(self.decoder.__call__, compile_config)
        if hasattr(model.config, "is_causal"):
            # A pass writes it into the instance, and a graph that was made before would notice.
            model.config.is_causal = model.config.is_causal
        # What buffers are made for; they serve no other.
        self.made_for = (model.device, model.dtype, torch.is_autocast_enabled(model.device.type), self.dynamic)

    @classmethod
    def of(cls, model: Any, rows: int, compile_config: CompileConfig | None) -> "Compiled | None":
        """Finds out whether passes are to be compiled, and is None if not; arguments are those of the class."""
        if compile_config is None and not is_compiled(model.denoising_modules()[0]):
            return None
        return cls(model, rows, compile_config)

    def cache(self, columns: int) -> BlockCache:
        """Takes the cache of an earlier call, or makes one, for so many columns."""
        # Out of the dictionary, so that a call beside this one makes its own.
        made_for, cache = _KEPT.pop(self.model, (None, None))
        if cache is None or made_for != self.made_for:
            cache = StaticBlockCache(self.model.config, columns, self.rows, self.dynamic)
        else:
            cache.begin(columns, self.rows)
        self.last_cache = cache
        return cache

    def keep(self) -> None:
        """Leaves the cache of this call to the next one."""
        if self.last_cache is not None:
            _KEPT[self.model] = (self.made_for, self.last_cache)

    def pad(
        self,
        step: ForwardPass,
        ids: torch.Tensor,
        positions: torch.Tensor,
        visible: torch.Tensor | None,
        targets: torch.Tensor | None,
        rows: torch.Tensor | None,
    ) -> Padded:
        """
        Pads a pass to one of few sizes.

        In a window all rows of the cache take part, each in its place, so that none has to be copied.

        Args:
            step ([`ForwardPass`]): What the pass attends to.
            ids, positions (`torch.LongTensor` of shape `(rows, width)`): What the model reads, and where it stands.
            visible (`torch.BoolTensor` of shape `(rows, keys)` or `(rows, width, keys)`, *optional*): All if None.
            targets (`torch.LongTensor` of shape `(rows, width)`, *optional*): Where it is stored; -1 for nowhere.
            rows (`torch.LongTensor` of shape `(rows,)`, *optional*): Which rows of the cache these are; all if None.

        Returns:
            [`Padded`]

        Raises:
            ValueError: If the pass attends to a cache that does not come from the setting of its policy.
        """
        cache = step.cache
        if not isinstance(cache, StaticBlockCache | None):
            raise ValueError(
                "`block_cache` must take its cache from `setting.cache` where passes are compiled (got a "
                f"{type(cache).__name__})"
            )
        at: Any = slice(len(ids))
        count, width = len(ids), round_columns(ids.shape[1])
        if step.whole or cache is None:
            known, keys = ids.shape[1], width
        else:
            known = step.stored if visible is None else visible.shape[-1]
            count, keys = cache.batch_size, cache.reserve(known)
            at, rows = at if rows is None else rows, None
        # The last of several rows has company, for a batch of one would be another graph.
        padded = max(round_rows(count), min(self.rows, 2)), width
        if visible is None:
            visible = torch.ones(len(ids), known, dtype=torch.bool, device=ids.device)
        visible = visible[:, None] if visible.ndim == 3 else visible[:, None, None]
        # Rows and columns that were added see something, for without anything attention gives no number.
        seen = _fill(visible, (padded[0], 1, 1 if visible.shape[2] == 1 else width, keys), True, at)
        seen[..., known:] = False
        return Padded(
            ids=_fill(ids, padded, 0, at),
            positions=_fill(positions, padded, 0, at),
            visible=seen,
            targets=None if targets is None else _fill(targets, padded, -1, at),
            rows=None if rows is None else _fill(rows, padded[:1], 0, at),
            at=at,
        )

    def __call__(self, cache: BlockCache | None, inputs: dict[str, Any]) -> Any:
        """
        Calls the decoder.

        Args:
            cache ([`BlockCache`], *optional*): Where the pass stores keys and values.
            inputs (`dict[str, Any]`): The decoder's arguments, of a padded pass.

        Returns:
            What the decoder returns.
        """
        if self.dynamic:
            for name, sizes in (("input_ids", (0, 1)), ("position_ids", (0, 1)), ("attention_mask", (0, 2, 3))):
                torch._dynamo.maybe_mark_dynamic(inputs[name], sizes)
        if cache is not None and not cache.is_initialized:
            # Buffers are made outside of graphs, within which they would have no place of their own.
            with torch.compiler.set_stance("force_eager"):
                self.decoder(**inputs)
        return self.decoder(**inputs)


def _compile(function: Callable[..., Any], config: CompileConfig) -> Callable[..., Any]:
    """Compiles as `config` says; called anew it finds the graphs of the last time."""
    # A config has this mode if none is given, and backends other than inductor know no modes.
    default = config.backend != "inductor" and config.mode == CompileConfig.mode
    try:
        return torch.compile(
            function,
            fullgraph=config.fullgraph,
            # Dynamic sizes are marked one by one: torch would take the number of heads for one as well.
            dynamic=False if config.dynamic is False else None,
            backend=config.backend,
            mode=None if default else config.mode,
            options=config.options,
        )
    except Exception as error:
        raise ValueError(f"`compile_config` must be what torch.compile takes (got {config!r}: {error})") from error


def _fill(tensor: torch.Tensor, shape: tuple[int, ...], value: int, at: Any) -> torch.Tensor:
    """Fills up a tensor to a shape, its rows at `at`; always a copy, because graphs tell views and strides apart."""
    filled = tensor.new_full(shape, value)
    filled[(at, *map(slice, tensor.shape[1:]))] = tensor
    return filled
