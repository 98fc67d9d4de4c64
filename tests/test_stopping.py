# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
import pytest
import torch
from conftest import EOT, ScriptedModel
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import MaxTimeCriteria, PreTrainedTokenizerFast, StoppingCriteria, StoppingCriteriaList

from hf_learn2pd import EndOfTextCriteria, Threshold
from hf_learn2pd.special_tokens import SpecialTokens

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
