# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
import pytest
import torch
from conftest import STRATEGIES, ScriptedModel, golden_cases, golden_filter

from hf_learn2pd import (
    UNMASKING_STRATEGIES,
    BlockPrediction,
    Factor,
    Learn2PD,
    LowConfidence,
    Oracle,
    RandomOrder,
    Threshold,
    UnmaskingFilter,
    UnmaskingStrategy,
)


def predict(confidence, masked=None, tokens=None, scheduled=1, noise=None):
    confidence = torch.tensor(confidence)
    rows, width = confidence.shape
    return BlockPrediction(
        tokens=torch.zeros(rows, width, dtype=torch.long) if tokens is None else torch.tensor(tokens),
        confidence=confidence,
        masked=torch.ones(rows, width, dtype=torch.bool) if masked is None else torch.tensor(masked).bool(),
        scheduled=torch.full((rows,), scheduled),
        positions=torch.arange(width).expand(rows, -1),
        rows=torch.arange(rows),
        noise=torch.zeros(rows, width) if noise is None else torch.tensor(noise),
        in_block=torch.ones(rows, width, dtype=torch.bool),
        vocab_size=100,
    )


def chosen(mask):
    return [row.nonzero().squeeze(-1).tolist() for row in mask]


def test_low_confidence_takes_as_many_as_scheduled():
    prediction = predict([[0.1, 0.9, 0.5, 0.7], [0.4, 0.3, 0.2, 0.1]], masked=[[1, 0, 1, 1], [0, 0, 0, 1]], scheduled=2)
    assert chosen(LowConfidence()(prediction)) == [[2, 3], [3]]


def test_random_order_follows_the_noise_not_the_confidence():
    assert chosen(RandomOrder()(predict([[0.9, 0.1, 0.5]], noise=[[0.2, 0.1, 0.8]], scheduled=1))) == [[2]]


def test_threshold_includes_its_bound_and_leaves_unmasked_positions_alone():
    prediction = predict([[0.9, 0.95, 0.89, 0.99]], masked=[[1, 1, 1, 0]])
    assert chosen(Threshold(0.9)(prediction)) == [[0, 1]]
    assert chosen(Threshold(0.99)(prediction)) == [[]]


def test_factor_by_hand():
    # Bounds at factor 1: rank 1 free, rank 2 needs 2/3, rank 3 needs 3/4, rank 4 needs 4/5.
    assert chosen(Factor(1.0)(predict([[0.2, 0.7, 0.3, 0.1]]))) == [[1]]
    assert chosen(Factor(1.0)(predict([[0.76, 0.7, 0.77, 0.1]]))) == [[0, 2]]
    # The bound grows with the rank, so 0.76, 0.76, 0.76 all pass and the last-ranked, failing alone, comes along.
    assert chosen(Factor(1.0)(predict([[0.76, 0.1, 0.76, 0.76]]))) == [[0, 1, 2, 3]]


@pytest.mark.parametrize("case", golden_cases("units")["get_transfer_index"]["cases"])
def test_threshold_and_factor_equal_fast_dllm(case):
    probabilities = torch.tensor(case["logits"]).reshape(1, len(case["x"][0]), -1).softmax(-1)
    confidence, tokens = probabilities.max(-1)
    masked = torch.tensor(case["mask_index"]).bool()
    for name, expected in case.items():
        rule, _, value = name.partition("_")
        if rule in ("threshold", "factor"):
            strategy = {"threshold": Threshold, "factor": Factor}[rule](float(value))
            mask = strategy(predict(confidence.tolist(), masked=masked.tolist(), tokens=tokens.tolist()))
            if not mask.any():
                # Progress is the loop's part; the reference has it in the rule.
                mask[0, confidence.masked_fill(~masked, 0).argmax()] = True
            assert mask.long().tolist() == expected, name


def test_learn2pd_is_filter_or_most_confident():
    filter = UnmaskingFilter(block_length=4, hidden_size=2)
    with torch.no_grad():
        for parameter in filter.parameters():
            parameter.zero_()
        filter.linear2.bias.copy_(torch.tensor([4.0, -4.0, 4.0, -4.0]))
    prediction = predict([[0.2, 0.3, 0.1, 0.9], [0.2, 0.3, 0.1, 0.1]], masked=[[1, 1, 0, 1], [0, 1, 1, 1]])
    strategy = Learn2PD(filter, threshold=0.96)
    assert chosen(strategy(prediction)) == [[0, 3], [1, 2]]
    assert chosen(strategy.accept(prediction)) == [[0], [2]]
    # sigmoid(4) = 0.982
    assert chosen(Learn2PD(filter, threshold=0.99).accept(prediction)) == [[], []]


def test_learn2pd_takes_the_threshold_of_its_filter():
    filter = UnmaskingFilter(block_length=2, hidden_size=2, threshold=0.0)
    assert chosen(Learn2PD(filter)(predict([[0.1, 0.2]]))) == [[0, 1]]


def test_oracle_takes_exactly_what_equals_the_reference():
    prediction = predict(
        [[0.1] * 4, [0.9] * 4], masked=[[1, 1, 1, 1], [1, 1, 0, 1]], tokens=[[5, 6, 7, 8], [1, 2, 3, 4]]
    )
    reference = torch.tensor([[5, 0, 7], [1, 2, 3]])
    assert chosen(Oracle(reference)(prediction)) == [[0, 2], [0, 1]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Threshold(1.5), "`threshold` must be between 0 and 1"),
        (lambda: Factor(0.0), "`factor` must be above 0"),
        (lambda: Learn2PD("user/filter"), "`unmasking_filter` must be an UnmaskingFilter"),
        (lambda: Learn2PD(golden_filter(), 2.0), "`filter_threshold` must be between 0 and 1"),
        (lambda: Oracle(torch.zeros(3)), "`reference_ids` must be a tensor of shape"),
        (lambda: Oracle([[1]]), "`reference_ids` must be a tensor of shape"),
    ],
)
def test_bad_options_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_every_named_strategy_is_tested_by_the_matrix():
    assert {type(strategy) for strategy in STRATEGIES} | {Oracle} == set(UNMASKING_STRATEGIES.values())


# By hand: four positions, confidences 0.95 0.6 0.92 0.3.
SCRIPT = ([5, 6, 7, 8], [0.95, 0.6, 0.92, 0.3])


class Leftmost(UnmaskingStrategy):
    def __call__(self, prediction):
        return prediction.masked & (prediction.masked.cumsum(dim=-1) == 1)


def test_the_most_confident_is_added_only_where_nothing_was_chosen():
    output = ScriptedModel(*SCRIPT).run(decoding=Leftmost(), end_of_text=None)
    assert output.unmasking_steps.tolist() == [[0, 1, 2, 3]]


@pytest.mark.parametrize(
    ("decoding", "steps"),
    [
        ("low_confidence", [0, 2, 1, 3]),
        (Threshold(0.9), [0, 1, 0, 2]),
        (Threshold(0.5), [0, 0, 0, 1]),
        (Factor(1.0), [0, 1, 0, 1]),
    ],
)
def test_unmasking_steps_by_hand(decoding, steps):
    output = ScriptedModel(*SCRIPT).run(decoding=decoding, end_of_text=None)
    assert output.sequences.tolist() == [[1, 2, 5, 6, 7, 8]]
    assert output.unmasking_steps.tolist() == [steps]
    assert output.nfe.tolist() == [max(steps) + 1]
    assert output.tokens_per_forward.item() == pytest.approx(4 / (max(steps) + 1))


def test_canvases_by_hand():
    model = ScriptedModel(*SCRIPT)
    model.run(decoding=Threshold(0.9), end_of_text=None)
    assert model.canvases == [[[1, 2, 11, 11, 11, 11]], [[1, 2, 5, 11, 7, 11]], [[1, 2, 5, 6, 7, 11]]]


def test_oracle_needs_one_pass_per_block_when_the_model_is_right_at_once():
    output = ScriptedModel(*SCRIPT).run(
        decoding="oracle", reference_ids=torch.tensor([[5, 6, 7, 8]]), block_length=2, end_of_text=None
    )
    assert output.nfe.tolist() == [2]
    assert output.unmasking_steps.tolist() == [[0, 0, 1, 1]]


def test_a_strategy_that_never_chooses_gets_one_token_per_step():
    class Never(UnmaskingStrategy):
        def __call__(self, prediction):
            return torch.zeros_like(prediction.masked)

    output = ScriptedModel(*SCRIPT).run(decoding=Never(), end_of_text=None)
    assert output.unmasking_steps.tolist() == [[0, 2, 1, 3]]


def test_a_strategy_that_returns_no_mask_is_named():
    class Ids(UnmaskingStrategy):
        def __call__(self, prediction):
            return prediction.tokens

    with pytest.raises(ValueError, match="`decoding` must return a bool tensor of shape \\(1, 4\\)"):
        ScriptedModel(*SCRIPT).run(decoding=Ids())


def test_confidences_near_one_are_told_apart():
    class Large(ScriptedModel):
        """As large as the logits of a trained model, which float32 rounds to some millionths."""

        def forward(self, *args, **kwargs):
            output = super().forward(*args, **kwargs)
            output.last_hidden_state += 100.0
            return output

    class Seen(UnmaskingStrategy):
        def __call__(self, prediction):
            seen.append(prediction.confidence)
            return prediction.masked

    seen = []
    confidence = torch.linspace(0.9990, 0.9999, 32, dtype=torch.float64)
    Large([3] * 32, confidence.tolist()).run(decoding=Seen())
    torch.testing.assert_close(seen[0][0].double(), confidence, atol=1e-6, rtol=0)
