# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Training data for a filter: the model's own outputs, replayed by the oracle."""

import hashlib
import json
import os
import warnings
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from accelerate import PartialState
from tqdm.auto import tqdm
from transformers import AutoTokenizer

from hf_learn2pd import __version__

from ..blocks import FixedBlocks
from ..checks import check_bool, check_integer
from ..options import OPTIONS
from ..passes import FullCanvas, PassPolicy
from ..unmasking import UnmaskingStrategy
from .arguments import check_path, own_block_length
from .files import make_directory, read_tensors, write_tensors, write_whole
from .fingerprint import fingerprint_module, fingerprint_policy, fingerprint_tokenizer
from .prompts import read_prompts, tokenize_prompts
from .replay import Trajectories, replay
from .texts import StockTexts

__all__ = ["Trajectories", "collect_trajectories", "load_trajectories", "replay"]

# Lists the files of the last complete run; files of a longer one may lie beside them.
_RUN = "run.json"


def collect_trajectories(
    model: Any,
    prompts: str | os.PathLike[str] | Iterable[Any],
    directory: str | os.PathLike[str],
    tokenizer: Any | None = None,
    max_new_tokens: int = 256,
    block_length: int | None = None,
    batch_size: int = 16,
    policy: UnmaskingStrategy | None = None,
    block_cache: str | PassPolicy | None = None,
    suffix_length: int | None = None,
    texts: str | os.PathLike[str] | None = None,
    hidden_states: bool = False,
    progress: bool = True,
) -> Trajectories:
    """
    Runs the stock loop on prompts, one token per step, replays its outputs and stores what a filter learns from.

    Every batch becomes one safetensors file, written under another name and moved into place: a call that is repeated
    after it was killed goes on where it had stopped. Under `accelerate launch` each process takes its share of the
    batches; the files do not depend on the number of processes or machines, which need to see the same directory.
    Memory does not grow with the number of prompts before the files are read at the end.

    Every file names what it was made with: the weights of the model and of a filter in `policy`, the tokenizer, the
    version of this package, prompts and options. A damaged or foreign file is named in a warning and made again. At the
    end `run.json` lists the files of the run.

    Args:
        model ([`DiffusionGenerationMixin`]): The model the filter is for.
        prompts (`str`, `os.PathLike` or `Iterable`): What [`read_prompts`] takes.
        directory (`str` or `os.PathLike`): Where the files go; made if there is none.
        tokenizer (`PreTrainedTokenizerBase`, *optional*): The model's; loaded from its repository if None.
        max_new_tokens (`int`, *optional*, defaults to 256): Positions of the answer region.
        block_length (`int`, *optional*): Positions that are denoised together; the model's own if None.
        batch_size (`int`, *optional*, defaults to 16): Prompts per batch and file.
        policy ([`UnmaskingStrategy`], *optional*): What the replay follows instead of the oracle, see [`replay`].
        block_cache (`str` or [`PassPolicy`], *optional*):
            Which keys and values stock loop and replay keep, as the filter will meet them; see [`replay`], like the
            next one.
        suffix_length (`int`, *optional*): Masked columns right of the block that both have in sight.
        texts (`str` or `os.PathLike`, *optional*):
            Where [`StockTexts`] are kept, so that they are replayed in several rounds and decoded once.
        hidden_states (`bool`, *optional*, defaults to `False`):
            Whether to keep the model's hidden states, for a filter that looks at them: in each step as many numbers as
            a block has positions times the model's width, a quarter of a megabyte for LLaDA-8B.
        progress (`bool`, *optional*, defaults to `True`): Whether to show a progress bar.

    Returns:
        [`Trajectories`]: All of them, on the CPU. The text up to the block with its end-of-text is replayed, not the
        padding behind.

    Raises:
        ValueError: If there is no prompt, or the directory holds files of another model, tokenizer, version or policy,
            or of other prompts or options; the message says of which.
    """
    block_length = own_block_length(model, block_length)
    check_path("directory", directory)
    if texts is not None:
        check_path("texts", texts)
    for name, count in (("max_new_tokens", max_new_tokens), ("batch_size", batch_size)):
        check_integer(name, count, 1)
    for name, flag in (("hidden_states", hidden_states), ("progress", progress)):
        check_bool(name, flag)
    if suffix_length is not None:
        check_integer("suffix_length", suffix_length, 0)
    if not isinstance(policy, UnmaskingStrategy | None):
        raise ValueError(f"`policy` must be an UnmaskingStrategy (got {policy!r})")
    if block_cache is not None and not isinstance(block_cache, PassPolicy):
        OPTIONS["block_cache"].check("block_cache", block_cache)
    if hidden_states and not model.gives_hidden_states:
        raise ValueError("`hidden_states` must be False with a model of `enable_decoding`, which gives none (got True)")
    state = PartialState()
    directory = Path(directory)
    make_directory("directory", directory)
    tokenizer = tokenizer or AutoTokenizer.from_pretrained(model.name_or_path)
    batches = enumerate(tokenize_prompts(model, tokenizer, read_prompts(prompts), batch_size))
    made_with = {
        "version": __version__,
        "model": fingerprint_module(model),
        "tokenizer": fingerprint_tokenizer(tokenizer),
        "policy": fingerprint_policy(policy),
        "block_cache": fingerprint_policy(block_cache),
        "suffix_length": str(suffix_length),
        "max_new_tokens": str(max_new_tokens),
        "block_length": str(block_length),
        "hidden_states": str(hidden_states),
    }
    # Whatever the model's own config says.
    passes = (
        {}
        if model.block_causal
        else {
            "block_cache": FullCanvas() if block_cache is None else block_cache,
            "suffix_length": max_new_tokens if suffix_length is None else suffix_length,
            "block_schedule": FixedBlocks(block_length),
        }
    )
    stock = StockTexts(model, texts, max_new_tokens, block_length, **passes)
    files: dict[Path, dict[str, str]] = {}
    bar = tqdm(desc="trajectories", unit="prompt", disable=not progress or not state.is_main_process)
    for number, batch in batches:
        file = directory / f"trajectories-{number:05}.safetensors"
        content = [batch[name].tolist() for name in ("input_ids", "attention_mask")]
        files[file] = made_with | {"prompts": hashlib.sha256(json.dumps(content).encode()).hexdigest()}
        mine = number % state.num_processes == state.process_index
        if not _is_done(file, files[file], mine) and mine:
            answers = stock(batch)["answers"].to(model.device)
            ids, attention_mask = batch["input_ids"], batch["attention_mask"]
            trajectories = replay(
                model,
                ids,
                answers,
                attention_mask,
                block_length,
                stop_at_end_of_text=True,
                policy=policy,
                block_cache=block_cache,
                suffix_length=suffix_length,
                hidden_states=hidden_states,
            ).map(lambda values: values.cpu().contiguous())
            write_tensors(file, trajectories.tensors(), files[file])
        bar.update(len(batch["input_ids"]))
    bar.close()
    if not files:
        raise ValueError("`prompts` must hold at least one prompt (got none)")
    state.wait_for_everyone()
    if state.is_main_process:
        listed = json.dumps({file.name: origin for file, origin in files.items()}, indent=1)
        write_whole(directory / _RUN, lambda temporary: temporary.write_text(listed))
    state.wait_for_everyone()
    return _load(files)


def load_trajectories(directory: str | os.PathLike[str]) -> Trajectories:
    """
    Reads what the last complete call of [`collect_trajectories`] has written, and no other file beside it.

    Args:
        directory (`str` or `os.PathLike`): Its directory.

    Returns:
        [`Trajectories`]

    Raises:
        ValueError: If there is no complete run in it, or one of its files is missing, damaged or of another run.
    """
    directory = Path(directory)
    if not (directory / _RUN).exists():
        raise ValueError(
            f"`directory` must hold trajectories of a complete run, with {_RUN} (got none in {directory}); the same "
            "call of `collect_trajectories` completes an interrupted one"
        )
    try:
        listed = json.loads((directory / _RUN).read_text())
        files = {directory / name: dict(origin) for name, origin in listed.items()}
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise ValueError(f"`directory` must hold a list of files in {_RUN} (got {error} in {directory})") from error
    if not files or any(file.parent != directory or ".." in file.parts for file in files):
        raise ValueError(f"`directory` must hold the files that {_RUN} lists, and at least one (got {[*listed]})")
    return _load(files)


def _load(files: dict[Path, dict[str, str]]) -> Trajectories:
    parts = []
    for file, origin in files.items():
        try:
            metadata, trajectories = _read(file)
        except ValueError as error:
            raise ValueError(f"`directory` must hold whole trajectories (got {error} in {file})") from error
        if changed := _differences(origin, metadata):
            raise ValueError(f"`directory` must hold files of one run (got another {changed} in {file})")
        parts.append(trajectories)
    return Trajectories.cat(parts)


def _read(file: Path) -> tuple[dict[str, str], Trajectories]:
    """Reads one file; raises `ValueError` if it is not whole."""
    metadata, tensors = read_tensors(file)
    if {*tensors, "hidden_states"} != {field.name for field in fields(Trajectories)}:
        raise ValueError(f"other tensors than those of trajectories, {sorted(tensors)}")
    return metadata, Trajectories(**tensors)


def _differences(origin: dict[str, str], metadata: dict[str, str]) -> str:
    return ", ".join(name for name, value in origin.items() if metadata.get(name) != value)


def _is_done(file: Path, origin: dict[str, str], warn: bool) -> bool:
    """Whether a file is there and right; raises if it is of another run, so that nobody's data is written over."""
    if not file.exists():
        return False
    try:
        metadata, _ = _read(file)
    except ValueError as error:
        if warn:
            warnings.warn(f"{file} is damaged or foreign ({error}) and is made again", stacklevel=3)
        return False
    if "content" not in metadata:
        raise ValueError(
            f"`directory` must be empty or of the same prompts and options, model and version (got {file}, written "
            "without fingerprints by an older version: collect into another directory)"
        )
    if changed := _differences(origin, metadata):
        raise ValueError(
            f"`directory` must be empty or of the same prompts and options, model and version (got another {changed} "
            f"in {file})"
        )
    return True
