# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Evaluate decoders over their settings on the same held-out questions; a JSON file for each run.

python examples/evaluation/run.py --data tasks
python examples/evaluation/run.py --data gsm --model examples/gsm_llada --delimiter "\\n" --ways none local+64
python examples/evaluation/run.py --data gsm8k.jsonl --model GSAI-ML/LLaDA-8B-Instruct --filters flan=user/filter

A line of a JSONL file has `prompt` and `answer`; a text is right if it ends with the answer, or with the number in it.
What a folder holds already is not run again. `report.py` makes tables and plots of it.
"""

import argparse
import hashlib
import json
import shlex
from pathlib import Path
from typing import Any

import torch
from decoders import CURVES, LEARNED, WAYS, filter_curve, schedule_curve
from measuring import environment, measure
from questions import load_questions
from records import Record, Run, check_folder, read_run, run_path, write_run
from tqdm.auto import tqdm
from transformers import AutoModelForCausalLM, AutoTokenizer

from hf_learn2pd import AdaBlock, UnmaskingFilter
from hf_learn2pd.training.fingerprint import fingerprint_module, fingerprint_policy

__all__ = ["main"]

TINY = Path(__file__).parents[1] / "tiny_llada"
# Ways of passes at which drafts are verified.
VERIFIED = ("none", "dual")


def parse_options(arguments: list[str] | None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="tasks", help="tasks, gsm, or a JSONL file (default: %(default)s)")
    parser.add_argument("--model", default=str(TINY))
    parser.add_argument("--num-prompts", type=int, default=1000)
    parser.add_argument("--max-new-tokens", type=int, default=256)
    parser.add_argument("--block-length", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--methods", nargs="+", help="names of curves and filters (default: all)")
    parser.add_argument(
        "--filters",
        nargs="*",
        default=[f"transformer={TINY / 'unmasking_filter'}", f"mlp={TINY / 'unmasking_filter_mlp'}"],
        help="name=source, the first is the default of learn2pd",
    )
    parser.add_argument("--filter-thresholds", nargs="*", type=float, default=[0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99])
    parser.add_argument("--delimiter", default=".", help="ends a block of AdaBlock")
    parser.add_argument("--output", help="folder (default: evaluation/ and the name of the data)")
    options = parser.parse_args(arguments)
    options.output = Path(options.output or Path("evaluation") / Path(options.data).stem)
    asked = {name: value for name, value in vars(options).items() if name not in ("ways", "methods", "output")}
    words = ["python", "examples/evaluation/run.py"]
    for name, value in asked.items():
        if value != parser.get_default(name):
            words += [f"--{name.replace('_', '-')}", *map(str, value if isinstance(value, list) else [value])]
    options.command = shlex.join(words)
    return options


def make_curves(options: argparse.Namespace, tokenizer: Any) -> dict[str, dict[str, dict[str, Any]]]:
    """Lists the wanted decoders: options of `generate` by method and setting."""
    schedule = AdaBlock.from_tokenizer(tokenizer, (options.delimiter,), block_length=options.block_length)
    curves = CURVES | {"adablock": schedule_curve(schedule)}
    for each in options.filters:
        name, _, source = each.partition("=")
        if not source or name in curves:
            raise ValueError(f"`--filters` must be name=source, with a name that is no other method's (got {each!r})")
        curves[name] = filter_curve(UnmaskingFilter.load(source), options.filter_thresholds)
    wanted = set(options.methods or curves)
    if not wanted <= set(curves):
        raise ValueError(f"`--methods` must be among {sorted(curves)} (got {sorted(wanted - set(curves))})")
    return {name: curve for name, curve in curves.items() if name in wanted | {"stock"}}


def main(arguments: list[str] | None = None) -> Path:
    """Runs what the folder does not hold yet; returns the folder."""
    options = parse_options(arguments)
    prompts, checks = load_questions(options.data, options.num_prompts)
    tokenizer = AutoTokenizer.from_pretrained(options.model, padding_side="left")
    model: Any = AutoModelForCausalLM.from_pretrained(options.model, dtype="auto")
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    asked = {
        "data": Path(options.data).stem,
        "prompts": hashlib.sha256(json.dumps(prompts).encode()).hexdigest()[:16],
        "model": fingerprint_module(model)[:16],
        **{name: getattr(options, name) for name in ("num_prompts", "max_new_tokens", "block_length", "batch_size")},
    }
    check_folder(options.output, asked)
    curves = make_curves(options, tokenizer)
    first_filter = next((each.partition("=")[0] for each in options.filters), None)
    runs = [
        (way, method, setting)
        for way in options.ways
        for method, curve in curves.items()
        for setting in curve
        if method != "pearl" or way in VERIFIED
    ]
    for way, method, setting in tqdm(runs, unit="run"):
        decoder = curves[method][setting] | WAYS[way]
        described = ", ".join(f"{name}={fingerprint_policy(value)}" for name, value in decoder.items())
        path = run_path(options.output, way, method, setting)
        if path.exists():
            if (found := read_run(path).decoder) != described:
                raise ValueError(f"`--output` must hold {method} {setting} as {described} (got {found})")
            continue
        if method == "oracle":
            decoder["references"] = read_run(run_path(options.output, way, "stock", "")).ids
        lengths = {"max_new_tokens": options.max_new_tokens, "block_length": options.block_length}
        measured = measure(model, tokenizer, prompts, options.batch_size, **lengths, **decoder)
        answers = zip(checks, measured.texts, measured.passes, measured.ids, strict=True)
        write_run(
            options.output,
            Run(
                asked=asked,
                way=way,
                method=method,
                setting=setting,
                kind=LEARNED if "unmasking_filter" in decoder else method,
                decoder=described,
                first_filter=method == first_filter,
                default=setting == next(iter(curves[method])),
                command=options.command,
                environment=environment(),
                seconds=measured.seconds_per_prompt * len(prompts),
                row_passes=measured.row_passes,
                records=[Record(check(text), text, nfe, len(ids)) for check, text, nfe, ids in answers],
                ids=measured.ids if method == "stock" else None,
            ),
        )
    output: Path = options.output
    return output


if __name__ == "__main__":
    main()
