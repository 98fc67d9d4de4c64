# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""A data set of a model's answers: from any number of processes, and over any number of interruptions."""

import hashlib
import json
import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from tqdm.auto import tqdm

from hf_learn2pd import __version__

from .checks import LARGEST_SEED, check_bool, check_integer
from .configuration import DiffusionGenerationConfig
from .filter import UnmaskingFilter
from .passes import PassPolicy
from .training.arguments import check_path
from .training.files import make_directory, write_whole
from .training.fingerprint import fingerprint_module, fingerprint_policy, fingerprint_tokenizer
from .training.prompts import Chat, read_prompts, tokenize_prompts

__all__ = ["generate_dataset"]


def generate_dataset(
    model: Any,
    tokenizer: Any,
    prompts: str | os.PathLike[str] | Iterable[Any],
    output_path: str | os.PathLike[str],
    batch_size: int = 16,
    seed: int = 0,
    progress: bool = True,
    **generate_options: Any,
) -> Path:
    """
    Lets a model answer prompts, and writes the answers into a JSONL file.

    Prompts of like length are decoded together, the longest first. Every batch becomes a file in the directory
    `output_path` + ".parts", written under another name and moved into place: a call that is repeated after it was
    killed goes on with the prompts that are missing, and may do so with another batch size or number of processes.
    Under `accelerate launch` each process takes its share of the batches; all need to see the same directory. Greedy
    answers depend on neither. Sampled ones depend on the batches, not on the processes.

    Every part names what it was made with: the weights of the model and of a filter, the tokenizer, the version of
    this package, prompts, seed and options. A damaged part is named in a warning and made again. The directory may be
    deleted once the file is there.

    Args:
        model ([`DiffusionGenerationMixin`]): The model, on the device of this process.
        tokenizer (`PreTrainedTokenizerBase`): Its tokenizer, with a chat template.
        prompts (`str`, `os.PathLike` or `Iterable`): What [`read_prompts`] takes: a JSONL file, strings or chats.
        output_path (`str` or `os.PathLike`):
            The file. A line is an object with `prompt`, a string or a chat; `text`, the answer; `nfe`, the forward
            passes it took; `tokens`, the number of its tokens with the end-of-text token. Lines are in the order of the
            prompts.
        batch_size (`int`, *optional*, defaults to 16): Prompts that are decoded together.
        seed (`int`, *optional*, defaults to 0): Of what is drawn, for each batch anew.
        progress (`bool`, *optional*, defaults to `True`): Whether the main process shows a progress bar of its share.
        generate_options: Options of [`~DiffusionGenerationMixin.generate`], such as `decoding` and `max_new_tokens`.

    Returns:
        `Path`: The file.

    Raises:
        ValueError: If an option is unknown or out of range, there is no prompt, the directory holds parts of another
            model, tokenizer or version, or of other prompts, options or another seed, or the file is there without it.
    """
    check_integer("batch_size", batch_size, 1)
    check_integer("seed", seed, 0, LARGEST_SEED)
    check_bool("progress", progress)
    check_path("output_path", output_path)
    _check_options(generate_options)
    file = Path(output_path)
    parts = file.with_name(f"{file.name}.parts")
    if file.exists() and not parts.exists():
        raise ValueError(f"`output_path` must be a new file, or have its parts in {parts} (got {file}, without them)")
    chats = list(read_prompts(prompts))
    if not chats:
        raise ValueError("`prompts` must hold at least one prompt (got none)")
    made_with = {
        "version": __version__,
        "model": fingerprint_module(model),
        "tokenizer": fingerprint_tokenizer(tokenizer),
        "prompts": _digest(chats),
        "seed": str(seed),
        "options": str({name: fingerprint_policy(value) for name, value in sorted(generate_options.items())}),
    }
    state = PartialState()
    make_directory("output_path", parts)
    done = _read_parts(parts, made_with, state.is_main_process)
    # All have to see the same parts before the first writes another.
    state.wait_for_everyone()
    lengths = [len(ids) for ids in tokenizer.apply_chat_template(chats, add_generation_prompt=True)["input_ids"]]
    missing = sorted(set(range(len(chats))) - set(done), key=lambda number: (-lengths[number], number))
    batches = [missing[start : start + batch_size] for start in range(0, len(missing), batch_size)]
    batches = batches[state.process_index :: state.num_processes]
    with tqdm(
        desc="answers",
        unit="prompt",
        total=sum(map(len, batches)),
        disable=not progress or not state.is_main_process,
    ) as bar:
        for numbers in batches:
            rows = _answer(model, tokenizer, [chats[number] for number in numbers], seed, generate_options)
            part = {"made_with": made_with, "rows": dict(zip(map(str, numbers), rows, strict=True))}
            name = _digest(numbers)
            _write(parts / f"{name}.json", json.dumps(part | {"content": _digest(part)}, ensure_ascii=False))
            bar.update(len(numbers))
    state.wait_for_everyone()
    if state.is_main_process:
        done = _read_parts(parts, made_with, True)
        if lost := sorted(set(range(len(chats))) - set(done)):
            raise ValueError(f"`output_path` must be on a disk that all processes share (got no answer {lost[0]})")
        lines = (json.dumps(done[number], ensure_ascii=False) for number in range(len(chats)))
        _write(file, "".join(f"{line}\n" for line in lines))
    state.wait_for_everyone()
    return file


def _check_options(options: dict[str, Any]) -> None:
    """Refuses what is of one batch, and what is out of range."""
    for name in ("input_ids", "inputs", "attention_mask", "generator", "streamer", "reference_ids", "tokenizer"):
        if options.get(name) is not None:
            raise ValueError(f"`{name}` must be left out for a data set (got {type(options[name]).__name__})")
    plain = {name: value for name, value in options.items() if not isinstance(value, UnmaskingFilter | PassPolicy)}
    given = ("generation_config", "logits_processor", "stopping_criteria")
    DiffusionGenerationConfig(**{name: value for name, value in plain.items() if name not in given})


def _answer(model: Any, tokenizer: Any, chats: list[Chat], seed: int, options: dict[str, Any]) -> list[dict[str, Any]]:
    """Decodes a batch; returns what the file says of each."""
    (batch,) = tokenize_prompts(model, tokenizer, chats, len(chats))
    generator = torch.Generator(model.device).manual_seed(int(_digest([seed, chats])[:15], 16))
    output = model.generate(
        **batch, tokenizer=tokenizer, generator=generator, **options | {"return_dict_in_generate": True}
    )
    answers = output.sequences[:, batch["input_ids"].shape[1] :].tolist()
    # What lies behind the end of a text is not counted.
    tokens = (output.tokens_per_forward * output.nfe).round().long().tolist()
    texts = [
        tokenizer.decode(ids[:count], skip_special_tokens=True) for ids, count in zip(answers, tokens, strict=True)
    ]
    return [
        {"prompt": _plain(chat), "text": text, "nfe": nfe, "tokens": count}
        for chat, text, nfe, count in zip(chats, texts, output.nfe.tolist(), tokens, strict=True)
    ]


def _plain(chat: Chat) -> str | Chat:
    """A single question as it was given."""
    alone = len(chat) == 1 and set(chat[0]) == {"role", "content"} and chat[0]["role"] == "user"
    return chat[0]["content"] if alone else chat


def _read_parts(parts: Path, made_with: dict[str, str], warn: bool) -> dict[int, dict[str, Any]]:
    """Reads the answers that are there, by number of the prompt; raises if they are of another run."""
    done: dict[int, dict[str, Any]] = {}
    for file in sorted(parts.glob("*.json")):
        try:
            part = json.loads(file.read_text(encoding="utf-8"))
            whole = part.pop("content") == _digest(part)
        except (ValueError, AttributeError, TypeError, KeyError, RecursionError):
            whole = False
        if not whole:
            if warn:
                warnings.warn(f"{file} is damaged or foreign and is made again", stacklevel=3)
            continue
        changed = [name for name, value in made_with.items() if part["made_with"].get(name) != value]
        if changed:
            raise ValueError(
                f"`output_path` must be new or of the same prompts and options, model and version (got another "
                f"{', '.join(changed)} in {file})"
            )
        done |= {int(number): row for number, row in part["rows"].items()}
    return done


def _write(file: Path, text: str) -> None:
    write_whole(file, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _digest(content: Any) -> str:
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=12).hexdigest()
