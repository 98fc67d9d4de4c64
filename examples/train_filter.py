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

import sys
from itertools import islice
from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers import AutoModelForCausalLM, AutoTokenizer

from hf_learn2pd.training.arguments import own_block_length
from hf_learn2pd.training.calibration import THRESHOLDS
from hf_learn2pd.training.training import plot_scores, score_thresholds

for folder in ("filter_training", "evaluation"):
    sys.path.insert(0, str(Path(__file__).parent / folder))

from filter_options import LOST, parse_options
from filter_tables import score_table, test_table, trial_table
from finishing import calibrate, save
from measuring import read_passes
from rounds import train_in_rounds
from training_questions import questions

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> None:
    """Collects trajectories, trains, calibrates, saves the filter and prints what was tried."""
    options = parse_options(str(__doc__), arguments)
    tokenizer: Any = AutoTokenizer.from_pretrained(options.model)
    model: Any = AutoModelForCausalLM.from_pretrained(options.model, dtype="auto")
    model.to(PartialState().device)
    asked, ways = questions(options.prompts), {name: read_passes(name) for name in options.passes}
    prompts = [chat for chat, _ in islice(asked, options.num_prompts)]
    lengths = options.block_lengths or [own_block_length(model, None)]
    filter, steps = train_in_rounds(model, tokenizer, prompts, lengths, ways, options)
    if not PartialState().is_main_process:
        return
    # What it was not trained on: the last tenth.
    scores = score_thresholds(filter, steps.map(lambda values: values[-(len(values) // 10) :]), THRESHOLDS)
    print(score_table(scores))
    if options.plot:
        plot_scores(scores, options.plot)
    canvas = {"max_new_tokens": options.max_new_tokens, "block_length": lengths[0]}
    canvas |= {name: value for name, value in ways[options.passes[0]].items() if value is not None}
    trials = calibrate(model, tokenizer, filter, islice(asked, options.calibration_prompts), scores, canvas, options)
    print(f"\n{trial_table(trials, LOST[options.lost])}")
    training = (
        f"{len(steps.confidence)} steps in {options.rounds} rounds over {options.num_prompts} prompts, canvas of "
        f"{options.max_new_tokens}, blocks of {' and '.join(map(str, lengths))}, passes "
        f"{' and '.join(options.passes)}. On steps held out:\n\n{score_table(scores)}"
    )
    save(model, filter, canvas, training, options)
    if options.test_prompts and options.prompts in ("tasks", "gsm"):
        print(test_table(model, tokenizer, filter, options.prompts, options.test_prompts, options.batch_size, canvas))


if __name__ == "__main__":
    main()
