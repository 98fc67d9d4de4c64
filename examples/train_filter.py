# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Train a filter for a model, as it will be used: texts, rounds of trajectories, training, and a calibrated threshold.

python examples/train_filter.py                                         # a filter for the small checkpoint
python examples/train_filter.py --model GSAI-ML/LLaDA-8B-Instruct --prompts questions.jsonl --output my_filter
python examples/train_filter.py --passes local+64 none --output local_filter      # calibrated with the first
accelerate launch examples/train_filter.py ...                          # trajectories on several GPUs or machines

The first round's steps are the oracle's. A filter finds less, so more is masked in the states that it meets: each
further round follows the filter just trained and learns from these steps as well. `--block-lengths 32 16`
makes a filter that serves both, `--passes none local+64` one that serves without a cache, and with the local one and 64
columns of the suffix in sight. `--lost answers` counts right answers that are lost, not changed texts: for a model that
errs. `--prompts gsm` takes word problems (`pip install reasoning-gym==0.1.25`). At the end the stock loop and the
filter answer held-out questions. A run that is started again with the same arguments goes on where it had stopped.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain, islice, product
from pathlib import Path
from typing import Any

from accelerate import PartialState
from measuring import measure, read_passes
from tasks import is_correct, task_sample
from transformers import AutoModelForCausalLM, AutoTokenizer

from hf_learn2pd import Learn2PD, UnmaskingFilter
from hf_learn2pd.filter.features import FEATURES, HIDDEN_STATE
from hf_learn2pd.training.arguments import own_block_length
from hf_learn2pd.training.calibration import THRESHOLDS, calibrate_threshold
from hf_learn2pd.training.prompts import read_prompts
from hf_learn2pd.training.training import plot_scores, score_thresholds, train_filter
from hf_learn2pd.training.trajectories import Trajectories, collect_trajectories

sys.path.insert(0, str(Path(__file__).parent / "evaluation"))

from questions import load_questions

__all__ = ["main", "questions", "test_table"]

# Of a stream of training samples of its own, apart from the one the model was trained on.
SEED = 188

# Chunks of word problems from which the training of gsm_llada is far away.
GSM_CHUNK = 900_000

# Share of the right predictions, on steps held out, that the first threshold of the calibration accepts.
USEFUL = 0.5

LOST = {"texts": "other texts than the stock loop's", "answers": "right answers of the stock loop that are lost"}

RECIPES: dict[str, dict[str, Any]] = {
    "mlp": {"features": ["confidence"], "learning_rate": 1e-2, "epochs": 1200},
    "transformer": {
        "features": ["confidence", "position", HIDDEN_STATE],
        "joint": True,
        "learning_rate": 3e-3,
        "epochs": 60,
        "masked_only": False,
    },
}


def questions(source: str) -> Iterator[tuple[Any, Callable[[str], bool] | None]]:
    """
    Finds training questions.

    Args:
        source (`str`): `"tasks"`, `"gsm"`, or a file as [`read_prompts`] takes it.

    Returns:
        `Iterator[tuple[Any, Callable[[str], bool] | None]]`: Chats, and what checks an answer, if known.
    """
    if source not in ("tasks", "gsm"):
        yield from ((chat, None) for chat in read_prompts(source))
        return
    samples: Iterable[Any] = (task_sample(SEED, index, "train") for index in range(1_000_000))
    check: Callable[[Any, str], bool] = is_correct
    if source == "gsm":
        import scores
        from gsm_samples import train_samples

        samples = chain.from_iterable(map(train_samples, range(GSM_CHUNK, GSM_CHUNK + 1000)))
        check = scores.is_correct
    for sample in samples:
        yield [{"role": "user", "content": sample.prompt}], partial(check, sample)


def held_out_last(parts: list[Trajectories]) -> Trajectories:
    """Joins parts over the same prompts: the last tenth of each, which training holds out, comes behind the others."""
    heads = [part.map(lambda values: values[: len(values) * 9 // 10]) for part in parts]
    tails = [part.map(lambda values: values[len(values) * 9 // 10 :]) for part in parts]
    return Trajectories.cat(heads + tails)


def test_table(
    model: Any, tokenizer: Any, filter: UnmaskingFilter, data: str, count: int, batch_size: int, canvas: dict[str, Any]
) -> str:
    """
    Compares a filter with the stock loop on held-out questions.

    Args:
        model ([`DiffusionGenerationMixin`]): The model.
        tokenizer (`PreTrainedTokenizerBase`): Its tokenizer.
        filter ([`UnmaskingFilter`]): The filter.
        data (`str`): See [`load_questions`].
        count (`int`): Number of questions.
        batch_size (`int`): Prompts per batch.
        canvas (`dict[str, Any]`): Options of `generate`.

    Returns:
        `str`: A table.
    """
    prompts, checks = load_questions(data, count)
    tokenizer.padding_side = "left"
    lines = ["", "| decoder | accuracy | texts of stock | NFE | TPF |", "|---|---|---|---|---|"]
    stock: list[str] = []
    for name, decoding in (("stock", "low_confidence"), ("learn2pd", Learn2PD(filter))):
        measured = measure(model, tokenizer, prompts, batch_size, decoding=decoding, **canvas)
        stock = stock or measured.texts
        right = sum(check(text) for check, text in zip(checks, measured.texts, strict=True)) / count
        same = sum(map(str.__eq__, stock, measured.texts)) / count
        numbers = f"{measured.nfe:.1f} | {measured.tokens_per_forward:.2f}"
        lines.append(f"| {name} | {100 * right:.1f} | {100 * same:.1f} | {numbers} |")
    return "\n".join([*lines, "", f"{count} held-out questions."])


def main(arguments: list[str] | None = None) -> None:
    """Collects trajectories, trains, calibrates, saves the filter and prints what was tried."""
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(here / "tiny_llada"))
    parser.add_argument("--prompts", default="tasks", help="tasks, gsm, or a JSONL file of prompts or chats")
    parser.add_argument("--output", default=str(here / "tiny_llada" / "unmasking_filter"))
    parser.add_argument("--trajectories", default="trajectories", help="folder to collect in (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=2, help="of trajectories and training (default: %(default)s)")
    parser.add_argument("--architecture", choices=RECIPES, default="transformer")
    parser.add_argument("--features", nargs="+", choices=[*FEATURES, HIDDEN_STATE], help="default: its recipe's")
    parser.add_argument("--hidden-size", type=int, default=32)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--num-prompts", type=int, default=1000, help="to learn from (default: %(default)s)")
    parser.add_argument("--calibration-prompts", type=int, default=1000, help="behind those (default: %(default)s)")
    parser.add_argument("--max-new-tokens", type=int, default=256)
    parser.add_argument("--block-lengths", type=int, nargs="+", help="calibrated with the first (default: the model's)")
    parser.add_argument(
        "--passes", nargs="+", default=["none"], help="none, dual, local+64 and the like; calibrated with the first"
    )
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument(
        "--max-loss", type=float, default=0.005, help="share that may be lost of --lost (default: %(default)s)"
    )
    parser.add_argument("--lost", choices=LOST, default="texts", help="of the stock loop; answers: the right ones")
    parser.add_argument("--test-prompts", type=int, default=200, help="held-out tasks or gsm (default: %(default)s)")
    parser.add_argument("--base-model", help="name of the model on the filter's card (default: --model)")
    parser.add_argument("--plot", help="image file for the curve over thresholds")
    options = parser.parse_args(arguments)

    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model: Any = AutoModelForCausalLM.from_pretrained(options.model, dtype="auto")
    state = PartialState()
    model.to(state.device)
    asked = questions(options.prompts)
    learned_from = [chat for chat, _ in islice(asked, options.num_prompts)]
    lengths = options.block_lengths or [own_block_length(model, None)]
    folder, ways = Path(options.trajectories), {name: read_passes(name) for name in options.passes}
    shared = {"batch_size": options.batch_size, "max_new_tokens": options.max_new_tokens, "texts": folder / "texts"}
    recipe = RECIPES[options.architecture] | {"hidden_size": options.hidden_size}
    recipe |= {name: value for name in ("features", "epochs") if (value := getattr(options, name)) is not None}
    base_model = options.base_model or Path(options.model).name
    parts: list[Trajectories] = []
    policy: Learn2PD | None = None
    for number in range(1, options.rounds + 1):
        for length, (name, passes) in product(lengths, ways.items()):
            where = folder / f"round_{number}_blocks_{length}_{name}"
            parts.append(
                collect_trajectories(
                    model,
                    learned_from,
                    where,
                    tokenizer,
                    block_length=length,
                    policy=policy,
                    hidden_states=HIDDEN_STATE in recipe["features"],
                    **shared,
                    **passes,
                )
            )
        trajectories = held_out_last(parts)
        filter = train_filter(trajectories, options.architecture, base_model=base_model, **recipe)
        policy = Learn2PD(filter)
    if not state.is_main_process:
        return
    # What it was not trained on: the last tenth.
    held_out = trajectories.map(lambda values: values[-(len(values) // 10) :])
    scores = score_thresholds(filter, held_out, THRESHOLDS)
    lines = ["| threshold | precision | recall | accepted per step |", "|---|---|---|---|"]
    lines += [
        f"| {score.threshold:g} | {score.precision:.5f} | {score.recall:.4f} | {score.tokens_per_forward:.2f} |"
        for score in scores
    ]
    print("\n".join(lines))
    if options.plot:
        plot_scores(scores, options.plot)
    rest, checks = zip(*islice(asked, options.calibration_prompts), strict=True)
    score = (lambda number, text: checks[number](text)) if options.lost == "answers" else None
    canvas = {"max_new_tokens": options.max_new_tokens, "block_length": lengths[0]}
    canvas |= {name: value for name, value in ways[options.passes[0]].items() if value is not None}
    shared |= {"tokenizer": tokenizer} | canvas
    # Where the filter accepts hardly anything calibration would only lose time.
    useful = [trial.threshold for trial in scores if trial.recall >= USEFUL] or THRESHOLDS[-1:]
    trials = calibrate_threshold(model, filter, rest, options.max_loss, score=score, thresholds=useful, **shared)
    tried = [
        f"| {trial.threshold:g} | {trial.losses} of {trial.prompts} | "
        f"{'given up' if trial.bound is None else f'{100 * trial.bound:.2f} %'} | {trial.nfe:.2f} |"
        for trial in trials
    ]
    print("\n".join(["", f"| threshold | {LOST[options.lost]} | bound | NFE |", "|---|---|---|---|", *tried]))
    training = (
        f"{len(trajectories.confidence)} steps in {options.rounds} rounds over {options.num_prompts} prompts, canvas "
        f"of {options.max_new_tokens}, blocks of {' and '.join(map(str, lengths))}, passes "
        f"{' and '.join(options.passes)}. On steps held out:"
    )
    # The card belongs to the weights: one that is there already would tell of others.
    (Path(options.output) / "README.md").unlink(missing_ok=True)
    filter.save_pretrained(options.output, model_card_kwargs={"training": "\n".join([training, "", *lines])})
    if Path(options.output).resolve() == (Path(options.model) / "unmasking_filter").resolve():
        # `generate` finds a filter in the model's own repository; from now on it is used without being asked for.
        model.generation_config.update(decoding="learn2pd", **canvas)
        model.generation_config.save_pretrained(options.model)
    print(f"threshold {filter.threshold:.4f}; saved to {options.output}")
    if options.test_prompts and options.prompts in ("tasks", "gsm"):
        print(test_table(model, tokenizer, filter, options.prompts, options.test_prompts, options.batch_size, canvas))


if __name__ == "__main__":
    main()
