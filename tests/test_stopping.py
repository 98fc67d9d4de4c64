# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
from pathlib import Path

import pytest
import torch
from conftest import EOT, ScriptedModel, golden_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    EosTokenCriteria,
    MaxLengthCriteria,
    MaxTimeCriteria,
    PreTrainedTokenizerFast,
    StoppingCriteria,
    StoppingCriteriaList,
)
from transformers.generation.stopping_criteria import ConfidenceCriteria

from hf_learn2pd import EndOfTextCriteria, Threshold
from hf_learn2pd.special_tokens import SpecialTokens
from hf_learn2pd.watchers import StopStrings

SHIPPED = Path(__file__).parents[1] / "examples" / "tiny_llada"

# An answer of three tokens and an EoT, then fill; the EoT is certain before the answer is.
TOKENS = [5, 6, 7, EOT, EOT, EOT, 3, EOT]
CONFIDENCE = [0.95, 0.5, 0.6, 0.97, 0.98, 0.99, 0.4, 0.98]


def test_accepted_ends_when_everything_before_the_end_is_unmasked():
    output = ScriptedModel(TOKENS, CONFIDENCE).run(decoding=Threshold(0.9), block_length=4)
    # Step 0: positions 0 and 3; step 1: 2; step 2: 1, and the text is complete.
    assert output.sequences.tolist() == [[1, 2, 5, 6, 7, EOT]]
    assert output.unmasking_steps.tolist() == [[0, 2, 1, 0]]
    assert output.nfe.tolist() == [3]
    assert output.tokens_per_forward.item() == pytest.approx(4 / 3)
    assert [query for _, _, query, _ in output.forward_passes] == [10, 10, 10]


def test_accepted_gives_the_text_of_no_stop():
    stopped = ScriptedModel(TOKENS, CONFIDENCE).run(decoding=Threshold(0.9), block_length=4)
    unstopped = ScriptedModel(TOKENS, CONFIDENCE).run(decoding=Threshold(0.9), block_length=4, end_of_text=None)
    assert unstopped.sequences.tolist() == [[1, 2, *TOKENS]]
    assert unstopped.sequences[:, : stopped.sequences.shape[1]].tolist() == stopped.sequences.tolist()
    # The second block takes two more passes; tokens are counted up to the end of the text in both.
    assert unstopped.nfe.tolist() == [5]
    assert unstopped.tokens_per_forward.item() == pytest.approx(4 / 5)


def test_cut_drops_what_lies_behind_the_first_unmasked_end():
    model = ScriptedModel(TOKENS, CONFIDENCE)
    output = model.run(decoding=Threshold(0.9), block_length=4, end_of_text="cut")
    assert output.sequences.tolist() == [[1, 2, 5, 6, 7, EOT]]
    assert [query for _, _, query, _ in output.forward_passes] == [10, 6, 6]
    assert model.canvases[1] == [[1, 2, 5, 11, 11, EOT]]


def test_predicted_cuts_at_the_most_confident_end_without_threshold():
    model = ScriptedModel([5, 6, 7, 8, EOT, 9, EOT, 9], [0.9, 0.8, 0.7, 0.6, 0.2, 0.9, 0.3, 0.9])
    output = model.run(block_length=4, end_of_text="predicted")
    # Position 6 is the most confident EoT of the canvas. It stays masked, and the last to be unmasked is position 4,
    # an EoT again, so that the text is cut there in the end.
    assert [query for _, _, query, _ in output.forward_passes] == [10, 9, 9, 9, 9, 9, 9]
    assert output.sequences.tolist() == [[1, 2, 5, 6, 7, 8, EOT]]


def test_predicted_trusts_an_accepted_end_of_the_block_first():
    model = ScriptedModel([5, EOT, 7, EOT, 9, EOT], [0.5, 0.95, 0.4, 0.96, 0.9, 0.99])
    output = model.run(decoding=Threshold(0.9), block_length=4, end_of_text="predicted")
    assert [query for _, _, query, _ in output.forward_passes] == [8, 4]
    assert output.sequences.tolist() == [[1, 2, 5, EOT]]


def test_rows_end_on_their_own_and_leave_the_batch():
    none = torch.empty(0, dtype=torch.long)
    special_tokens = SpecialTokens(11, EOT, torch.tensor([EOT]), never_predicted=none, never_confident=none)
    criteria = EndOfTextCriteria("accepted", special_tokens, prompt_length=1)
    canvas = torch.tensor([[EOT, 5, EOT, 11], [1, 11, EOT, 11], [1, 5, 6, 7], [1, EOT, 11, 11]])
    assert criteria(canvas).tolist() == [True, False, False, True]
    assert criteria.text_end(canvas).tolist() == [3, 5, 5, 2]


class StopAt(StoppingCriteria):
    def __init__(self, token):
        self.token = token

    def __call__(self, input_ids, scores, **kwargs):
        return input_ids[:, -1] == self.token


def test_user_criteria_stop_at_block_ends_as_if_written_token_by_token():
    model = ScriptedModel([5, 6, 7, 8, 3, 4], [0.99] * 6)
    output = model.run(
        decoding=Threshold(0.9), block_length=3, stopping_criteria=StoppingCriteriaList([StopAt(6)]), pad_token_id=0
    )
    assert output.sequences.tolist() == [[1, 2, 5, 6]]
    assert output.nfe.tolist() == [1]
    assert output.tokens_per_forward.item() == 2


def test_stop_strings_end_a_text_inside_a_block():
    alphabet = {character: number for number, character in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=alphabet, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    model = ScriptedModel([5, 6, 7, 8, 3, 4], [0.99] * 6)
    output = model.run(
        decoding=Threshold(0.9), block_length=4, stop_strings=tokenizer.decode([6, 7]), tokenizer=tokenizer
    )
    assert output.sequences.tolist() == [[1, 2, 5, 6, 7]]


def test_stopped_rows_are_padded_to_the_longest():
    model = ScriptedModel([5, 6, 7, 8, 3, 4], [0.99] * 6)

    class StopSecondRow(StoppingCriteria):
        def __call__(self, input_ids, scores, **kwargs):
            return (input_ids[:, 0] == 2) & (input_ids[:, -1] == 7)

    output = model.run(
        [[1], [2]],
        decoding=Threshold(0.9),
        block_length=3,
        stopping_criteria=StoppingCriteriaList([StopSecondRow()]),
        pad_token_id=0,
    )
    assert output.sequences.tolist() == [[1, 5, 6, 7, 8, 3, 4], [2, 5, 6, 7, 0, 0, 0]]
    assert output.nfe.tolist() == [2, 1]
    assert [rows for _, rows, _, _ in output.forward_passes] == [2, 1]


def test_a_time_limit_keeps_the_whole_block():
    model = ScriptedModel([5, 6, 7, 8, 3, 4], [0.99] * 6)
    past = MaxTimeCriteria(max_time=0.0)
    output = model.run(decoding=Threshold(0.9), block_length=3, stopping_criteria=StoppingCriteriaList([past]))
    assert output.sequences.tolist() == [[1, 2, 5, 6, 7]]
    assert model.run(decoding=Threshold(0.9), block_length=3, max_time=1e-9).sequences.tolist() == [[1, 2, 5, 6, 7]]


def test_a_length_or_end_of_a_user_is_honoured_inside_a_block():
    model = ScriptedModel([5, 6, 7, 8, 3, 4], [0.99] * 6)
    for criterion, length in ((MaxLengthCriteria(4), 4), (EosTokenCriteria(7), 5), (MaxLengthCriteria(99), 8)):
        output = model.run(decoding=Threshold(0.9), block_length=4, stopping_criteria=StoppingCriteriaList([criterion]))
        assert output.sequences.tolist() == [[1, 2, 5, 6, 7, 8, 3, 4][:length]]


class Recorder(StoppingCriteria):
    """Keeps state for the whole batch, and ends a row when it has seen a token there, as is and for good."""

    def __init__(self, token, of_all=False):
        self.token, self.of_all = token, of_all
        self.calls = []
        self.done = {}

    def __call__(self, input_ids, scores, **kwargs):
        self.calls.append(input_ids.tolist())
        for row, ids in enumerate(input_ids):
            self.done[row] = self.done.get(row, False) or bool(ids[-1] == self.token)
        stops = torch.tensor([self.done[row] for row in range(len(input_ids))])
        return bool(stops.all()) if self.of_all else stops


class Ragged(ScriptedModel):
    """Rows that begin with 2 are less sure, and take more passes for a block."""

    def forward(self, input_ids=None, **kwargs):
        output = super().forward(input_ids, **kwargs)
        output.last_hidden_state[input_ids[:, 0] == 2] *= 0.5
        return output


def test_a_criterion_is_called_as_in_transformers_with_all_rows_once_for_each_column():
    model = Ragged([5, 6, 7, 8, 3, 4], [0.99] * 6)
    recorder = Recorder(3)
    output = model.run([[1], [2]], decoding=Threshold(0.9), block_length=2, stopping_criteria=[recorder])
    assert output.nfe[1] > output.nfe[0]
    texts = [[1, 5, 6, 7, 8, 3, 4], [2, 5, 6, 7, 8, 3, 4]]
    assert recorder.calls == [[text[:column] for text in texts] for column in range(2, 7)]
    # The first row had gone on to the end of the canvas, and is shortened.
    assert output.sequences.tolist() == [text[:6] for text in texts]
    assert output.unmasking_steps.shape == (2, 5) and (output.unmasking_steps >= 0).all()
    assert output.tokens_per_forward.tolist() == pytest.approx((5 / output.nfe).tolist())


def test_rows_that_have_ended_stand_padded_in_their_places():
    class StopSecond(Recorder):
        def __call__(self, input_ids, scores, **kwargs):
            return super().__call__(input_ids, scores) & torch.tensor([False, True, False])

    recorder = StopSecond(6)
    model = ScriptedModel([5, 6, 7, 8, EOT, 4], [0.99] * 6)
    output = model.run(
        [[1], [2], [3]], decoding=Threshold(0.9), block_length=3, stopping_criteria=[recorder], pad_token_id=0
    )
    assert output.sequences.tolist() == [[1, 5, 6, 7, 8, EOT], [2, 5, 6, 0, 0, 0], [3, 5, 6, 7, 8, EOT]]
    assert [calls[1] for calls in recorder.calls] == [[2, 5, 6, 0, 0, 0][:column] for column in range(2, 7)]


def test_a_criterion_may_speak_of_the_whole_batch():
    """As lm-eval's does: rows go on until all have met it."""

    class Late(Ragged):
        def forward(self, input_ids=None, **kwargs):
            output = super().forward(input_ids, **kwargs)
            # The second row says 7 later.
            output.last_hidden_state[input_ids[:, 0] == 2] = output.last_hidden_state[input_ids[:, 0] == 2].roll(1, 1)
            return output

    model = Late([5, 6, 7, 8, 3, 4], [0.99] * 6)
    output = model.run(
        [[1], [2]], decoding=Threshold(0.9), block_length=2, stopping_criteria=[Recorder(7, of_all=True)]
    )
    assert output.sequences[0].tolist() == [1, 5, 6, 7, 8] and output.sequences[1, 2:].tolist() == [5, 6, 7]


class Says(StoppingCriteria):
    def __init__(self, verdict):
        self.verdict = verdict

    def __call__(self, input_ids, scores, **kwargs):
        return self.verdict


def test_what_cannot_be_asked_is_refused():
    model = ScriptedModel([5, 6], [0.99] * 2)
    with pytest.raises(ValueError, match="`stopping_criteria` must not need scores"):
        model.run(stopping_criteria=StoppingCriteriaList([ConfidenceCriteria(0.5)]))
    assert not model.canvases
    with pytest.raises(ValueError, match="`stopping_criteria` must return a bool for each of 1 rows"):
        model.run(stopping_criteria=StoppingCriteriaList([Says(torch.ones(3, dtype=torch.bool))]))
    for verdict in (True, torch.tensor(True), torch.tensor([True]), torch.tensor([[True]])):
        assert model.run(stopping_criteria=StoppingCriteriaList([Says(verdict)])).sequences.tolist() == [[1, 2, 5]]


def test_a_stateful_criterion_ends_rows_where_they_end_alone():
    model, prompts = golden_model("tiny_llada"), torch.tensor([[5, 6], [7, 8], [9, 4]])
    options = {"decoding": Threshold(0.004), "max_new_tokens": 24, "block_length": 5, "end_of_text": None}
    token = int(model.generate(prompts, **options)[0, 12])
    together = model.generate(prompts, **options, pad_token_id=510, stopping_criteria=[Recorder(token)])
    for row, prompt in enumerate(prompts):
        alone = model.generate(prompt[None], **options, pad_token_id=510, stopping_criteria=[Recorder(token)])[0]
        assert together[row, : len(alone)].tolist() == alone.tolist()
        assert set(together[row, len(alone) :].tolist()) <= {510}


def shipped():
    return AutoModelForCausalLM.from_pretrained(SHIPPED), AutoTokenizer.from_pretrained(SHIPPED)


QUESTIONS = [
    "start at 3. first add 4, second take 5, third add 6. what is the total?",
    "start at 9. first take 4. what is the total?",
    "what is the last letter of list?",
    "start at 1. first add 2, second add 2. what is the total?",
    "start at 8. first add 1. what is the total?",
]


@pytest.mark.parametrize("stop", ["second", "add 4: 3", "is 7", ["never", "7."], "."])
def test_stop_strings_are_found_in_the_text_of_any_tokenizer(stop):
    model, tokenizer = shipped()
    chat = [{"role": "user", "content": QUESTIONS[0]}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    length = inputs["input_ids"].shape[1]
    options = {"max_new_tokens": 32, "block_length": 16, "decoding": Threshold(0.9)}
    whole = model.generate(**inputs, **options)[0, length:].tolist()
    stopped = model.generate(**inputs, **options, stop_strings=stop, tokenizer=tokenizer)[0, length:].tolist()
    stops = [stop] if isinstance(stop, str) else stop
    found = [any(each in tokenizer.decode(whole[:end]) for each in stops) for end in range(1, len(whole) + 1)]
    assert stopped == whole[: found.index(True) + 1] and len(stopped) < len(whole)


def test_a_stop_string_of_the_prompt_ends_nothing():
    tokenizer = shipped()[1]
    ids = torch.tensor([tokenizer("start at 9. first", add_special_tokens=False)["input_ids"]])
    criterion = StopStrings(tokenizer, ["at 9"])
    assert [bool(criterion(ids[:, :end])) for end in range(1, ids.shape[1] + 1)] == [False, False, True, False, False]


@pytest.mark.parametrize("stop", [[], "", ["a", ""], [3]])
def test_empty_stop_strings_are_refused(stop):
    with pytest.raises(ValueError, match="`stop_strings` must be a string that is not empty"):
        StopStrings(None, stop)


@pytest.mark.parametrize("until", [["."], ["the", "5"], ["never"]])
def test_lm_eval_gets_at_batch_4_what_it_gets_at_batch_1(until):
    pytest.importorskip("lm_eval")
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    model, tokenizer = shipped()
    chats = [[{"role": "user", "content": question}] for question in QUESTIONS]
    prompts = [tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False) for chat in chats]
    requests = [
        Instance("generate_until", {}, (prompt, {"until": until, "max_gen_toks": 24}), number)
        for number, prompt in enumerate(prompts)
    ]

    def answers(batch_size):
        lm = HFLM(pretrained=model, tokenizer=tokenizer, backend="causal", batch_size=batch_size, max_length=256)
        return lm.generate_until(requests, disable_tqdm=True)

    alone = answers(1)
    assert answers(4) == alone and all(alone) and len(set(alone)) > 3
