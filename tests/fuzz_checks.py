# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""What has to hold of one call of `generate`: refused for a documented reason before any compute, or right."""

import functools
import re
from collections.abc import Callable
from typing import Any

import torch
from fuzz_cases import BLOCK_CAUSAL, EOT, MASK, Case, tiny_model
from fuzz_reference import RULES, decode

from hf_learn2pd import (
    AdaBlock,
    Checkerboard,
    Dilated,
    FixedBlocks,
    Learn2PD,
    Oracle,
    PassPolicy,
    SlidingBlocks,
    UnmaskingStrategy,
)
from hf_learn2pd.options import OPTIONS
from hf_learn2pd.unmasking import resolve_strategy

__all__ = ["check"]

# Cases in which nothing is drawn at random but the order of `random`, which is the same in every call.
ASKED = {"return_dict_in_generate": True, "output_unmasking_steps": True, "output_history": False}
FIELDS = ("sequences", "nfe", "tokens_per_forward", "unmasking_steps", "acceptance_length")


def value(case: Case, name: str) -> Any:
    """An option's value: as given, or its default."""
    if name == "end_of_text":
        return case.options.get(name, "accepted")
    given = case.options.get(name)
    if name == "block_length" and given is None and case.family in BLOCK_CAUSAL:
        return 4
    return OPTIONS[name].default if given is None and name in OPTIONS else given


def strategy_of(case: Case) -> UnmaskingStrategy:
    decoding = value(case, "decoding")
    if decoding == "pearl":
        decoding = "low_confidence" if value(case, "unmasking_filter") is None else "learn2pd"
    return resolve_strategy(decoding, value(case, "unmasking_filter"), value(case, "filter_threshold"))


def schedule_of(case: Case) -> type[FixedBlocks]:
    given = value(case, "block_schedule")
    name = given["name"] if isinstance(given, dict) else given
    return {"adablock": AdaBlock, "sliding": SlidingBlocks, None: FixedBlocks}.get(name, type(given))


def verifies(case: Case) -> bool:
    return bool(value(case, "verify")) or value(case, "decoding") == "pearl"


def conflicts(case: Case) -> set[str]:
    """The arguments that documentation says are to be refused in this call."""
    get = functools.partial(value, case)
    causal, sliding, verify = case.family in BLOCK_CAUSAL, schedule_of(case) is SlidingBlocks, verifies(case)
    strategy, edits = strategy_of(case), get("edit_threshold") is not None
    whole_words = get("no_repeat_ngram_size") is not None or get("bad_words_ids") is not None
    widest = get("block_length") if get("block_schedule") is None else 0
    cache, length = get("block_cache"), get("max_new_tokens")
    order = isinstance(strategy, Checkerboard | Dilated)
    rows = len(case.prompts) * (get("num_return_sequences") or 1)
    found = {
        "input_ids": any(MASK in prompt for prompt in case.prompts),
        "refresh_every": get("refresh_every") is not None and (cache is None or isinstance(cache, PassPolicy)),
        "schedule_eps": get("schedule_eps") is not None
        and (get("block_length") < length or get("block_schedule") is not None),
        "do_sample": verify and get("do_sample"),
        "edit_threshold": edits and (verify or case.family != "llada2"),
        "end_of_text": (verify or edits) and get("end_of_text") not in (None, "accepted"),
        "block_schedule": get("block_schedule") is not None and (causal or get("block_schedule") == "adablock"),
        "block_cache": cache is not None
        and (causal or case.family == "bert" or (sliding and cache_name(cache) in ("prefix", "dual"))),
        "suffix_length": causal and get("suffix_length") is not None,
        "steps": sliding and get("steps") is not None,
        "verify": sliding and verify,
        "decoding": (sliding and (strategy.compares or order)) or (verify and strategy.compares),
        "block_length": (case.family == "fast_dllm" and 12 % get("block_length") != 0)
        or (isinstance(strategy, Learn2PD) and strategy.filter.block_length is not None and min(widest, length) > 8),
        "reference_ids": isinstance(strategy, Oracle) and rows != len(strategy.reference_ids),
        "no_repeat_ngram_size": whole_words and (verify or edits),
        "delimiters": get("block_schedule") == "adablock" and get("tokenizer") is not None,
        "unmasking_filter": case.family == "bert" and getattr(strategy, "state_size", None) is not None,
    }
    return {name for name, refused in found.items() if refused}


def cache_name(cache: Any) -> str | None:
    return cache if cache is None or isinstance(cache, str) else type(cache).__name__.removesuffix("Cache").lower()


def generate(case: Case, rows: slice = slice(None), padding: int | None = None, **changed: Any) -> tuple[int, Any]:
    """Runs some rows of a case with some options changed; the prompts' width and what comes out."""
    prompts = case.prompts[rows]
    width = max(map(len, prompts)) + (case.padding if padding is None else padding)
    ids = torch.tensor([[EOT] * (width - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    options = {"generator": torch.Generator().manual_seed(0)} | case.options | changed
    if isinstance(options.get("decoding"), Oracle) and rows != slice(None):
        options["decoding"] = Oracle(options["decoding"].reference_ids[rows])
    # Without a mask transformers takes padding ids at the left of a prompt for padding.
    pad = EOT if options.get("pad_token_id") is None else options["pad_token_id"]
    bare = case.bad is None and bool((mask == 1).all() and (ids != pad).all())
    attention_mask = {} if bare else {"attention_mask": mask}
    return width, tiny_model(case.family).generate(ids, **attention_mask, **options)


def check(case: Case) -> str:
    """
    Runs a case and all that it is to be compared with.

    Returns:
        `str`: `"valid"`, or the argument that it was refused by, in backticks.

    Raises:
        AssertionError: If a result is wrong, or a refusal is none that is documented.
        Exception: Whatever else a call ends in.
    """
    calls: list[int] = []
    hook = tiny_model(case.family).get_input_embeddings().register_forward_pre_hook(lambda *_: calls.append(1))
    try:
        width, output = generate(case)
    except ValueError as error:
        named = re.findall(r"`([^`]+)`", str(error))
        expected = {case.bad} if case.bad else conflicts(case)
        assert named and not calls, f"refused without a name or after {len(calls)} passes: {error}"
        # A word of several tokens is one refusal, whichever option it came by.
        assert expected & set(named), f"refused for no documented reason, expected {sorted(expected)}: {error}"
        return f"`{named[0]}`"
    finally:
        hook.remove()
    assert case.bad is None, f"{case.bad}={case.options[case.bad]!r} was taken"
    assert not conflicts(case), f"taken, where {sorted(conflicts(case))} are to be refused"
    if not value(case, "return_dict_in_generate"):
        _, whole = generate(case, return_dict_in_generate=True)
        assert isinstance(output, torch.Tensor) and torch.equal(output, whole.sequences)
        output = whole
    if value(case, "output_history"):
        assert "<html" in output.report()
    if not value(case, "output_unmasking_steps"):
        _, whole = generate(case, **ASKED)
        assert output.unmasking_steps is None
        _same(output, whole, [name for name in FIELDS if name != "unmasking_steps"])
        output = whole
    _counts(case, width, output)
    if not value(case, "do_sample"):
        _rows_alone(case, width, output)
        _other_ways(case, width, output)
        _reference(case, width, output)
    return "valid"


def _same(one: Any, other: Any, names: Any = FIELDS) -> None:
    for name in names:
        first, second = one.get(name), other.get(name)
        assert (first is None) == (second is None), name
        assert first is None or torch.equal(first, second), f"{name}: {first.tolist()} != {second.tolist()}"


def _ends(case: Case) -> list[int]:
    eos = value(case, "eos_token_id")
    return [EOT] if eos is None else eos if isinstance(eos, list) else [eos]


def _counts(case: Case, width: int, output: Any) -> None:
    """What is true of any answer."""
    get = functools.partial(value, case)
    length, answer, nfe = get("max_new_tokens"), output.sequences[:, width:], output.nfe
    copies, pad = 2 if get("cfg_scale") else 1, get("pad_token_id")
    stops, ends = get("stop_strings") is not None, _ends(case)
    pad = EOT if pad is None else pad
    prompts = [prompt for prompt in case.prompts for _ in range(get("num_return_sequences") or 1)]
    assert output.sequences.dtype == torch.long and len(output.sequences) == len(prompts)
    assert MASK not in answer and 1 <= answer.shape[1] <= length
    assert not get("logits_eos_inf") or not set(answer[output.unmasking_steps >= 0].tolist()) & set(ends)
    if get("end_of_text") is None and not stops:
        assert answer.shape[1] == length
    passes, edits = [rows for _, rows, _, _ in output.forward_passes], get("edit_threshold") is not None
    assert bool((nfe >= 1).all()) and int(nfe.max()) <= len(passes) <= int(nfe.sum())
    assert int(nfe.max()) <= (length if not edits else length * (1 + get("max_post_steps")))
    assert sum(passes) >= copies * int(nfe.sum()) and (verifies(case) or sum(passes) == copies * int(nfe.sum()))
    assert (output.acceptance_length is not None) == verifies(case)
    assert output.acceptance_length is None or bool((output.acceptance_length >= 1).all())
    for row, prompt in enumerate(prompts):
        assert output.sequences[row, width - len(prompt) : width].tolist() == prompt
        steps, ids = output.unmasking_steps[row].tolist(), answer[row].tolist()
        text = next((place for place, step in enumerate(steps) if step < 0), len(steps))
        assert text >= 1 and max(steps) < nfe[row] and set(steps[text:]) <= {-1} and set(ids[text:]) <= {pad}
        if get("end_of_text") is None and not edits and not stops and not verifies(case):
            assert set(steps) == set(range(int(nfe[row]))), "a pass unmasked nothing"
        counted = next((place + 1 for place, token in enumerate(ids[:text]) if token in ends), text)
        assert abs(float(output.tokens_per_forward[row]) * int(nfe[row]) - counted) < 1e-3
        if get("end_of_text") in ("accepted", "cut"):
            assert counted == text, "a text goes on behind its end"


def _rows_alone(case: Case, width: int, output: Any) -> None:
    """A row's text and counts are those of the row in a batch of one, without padding."""
    if len(case.prompts) == 1 and not case.padding:
        return
    # One of the rows, which cases differ in.
    for row in [sum(map(sum, case.prompts)) % len(case.prompts)]:
        start, alone = generate(case, slice(row, row + 1), 0, **ASKED)
        text = alone.sequences.shape[1] - start
        for name in FIELDS:
            if alone.get(name) is not None:
                mine, other = output[name][row], alone[name][0]
                if name in ("sequences", "unmasking_steps"):
                    mine = mine[-(output.sequences.shape[1] - width) :][:text]
                    other = other[-text:]
                assert mine.tolist() == other.tolist(), f"{name} of row {row}: {mine.tolist()}, alone {other.tolist()}"


def _other_ways(case: Case, width: int, output: Any) -> None:
    """Options that are documented to change counts only, or nothing."""
    cache, end_of_text, stops = value(case, "block_cache"), value(case, "end_of_text"), value(case, "stop_strings")
    every = cache.refresh_every if isinstance(cache, PassPolicy) else value(case, "refresh_every")
    if cache is not None and every == 1 and end_of_text != "predicted":
        _, plain = generate(case, block_cache=None, refresh_every=None, **ASKED)
        _same(output, plain, ["sequences"] if verifies(case) else FIELDS)
    if verifies(case):
        _, stock = generate(
            case, decoding="low_confidence", unmasking_filter=None, filter_threshold=None, verify=False, **ASKED
        )
        _same(output, stock, ["sequences"])
        assert bool((output.nfe <= stock.nfe).all())
    if end_of_text == "accepted" and not stops and value(case, "edit_threshold") is None:
        _, full = generate(case, end_of_text=None, **ASKED)
        for row, steps in enumerate(output.unmasking_steps):
            text = int((steps >= 0).sum())
            assert (
                full.sequences[row, width : width + text].tolist()
                == output.sequences[row, width : width + text].tolist()
            )
            assert full.nfe[row] >= output.nfe[row]


def _rule_of(case: Case) -> Callable[..., set[int]] | None:
    name = "low_confidence"
    if not verifies(case):
        strategy = strategy_of(case)
        names = {type(resolve_strategy(known)): known for known in RULES}
        if type(strategy) not in names or getattr(strategy, "relief", 0.0):
            return None
        name = names[type(strategy)]
        return functools.partial(RULES[name], **{key: each for key, each in vars(strategy).items() if key != "relief"})
    return RULES[name]


def _reference(case: Case, width: int, output: Any) -> None:
    """Where passes are exact and the rule is simple, a naive loop writes the same."""
    get, rule = functools.partial(value, case), _rule_of(case)
    every = getattr(get("block_cache"), "refresh_every", get("refresh_every"))
    exact = (get("block_cache") is None or every == 1) and get("suffix_length") is None
    fixed = schedule_of(case) is FixedBlocks and get("schedule_eps") is None and case.family != "fast_dllm"
    others = ("cfg_scale", "confidence_eos_eot_inf", "repetition_penalty", "no_repeat_ngram_size", "bad_words_ids")
    others += ("stop_strings", "edit_threshold")
    if rule is None or not exact or not fixed or any(get(name) for name in others) or get("end_of_text") == "predicted":
        return
    schedule = get("block_schedule")
    for row, prompt in enumerate(case.prompts):
        found = decode(
            tiny_model(case.family),
            prompt,
            rule,
            get("max_new_tokens"),
            schedule.block_length if isinstance(schedule, FixedBlocks) else get("block_length"),
            MASK,
            shift=int(case.family == "dream"),
            causal=case.family in BLOCK_CAUSAL,
            steps=get("steps"),
            end_of_text=get("end_of_text"),
            eos=tuple(_ends(case)),
            never=tuple(_ends(case)) if get("logits_eos_inf") else (),
        )
        if found is not None:
            answer, passes = found
            assert output.sequences[row, width : width + len(answer)].tolist() == answer, f"row {row}: naive {answer}"
            assert verifies(case) or output.nfe[row] == passes, f"row {row}: {output.nfe[row]} passes, naive {passes}"
