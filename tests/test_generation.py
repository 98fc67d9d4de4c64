# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
import pytest
import torch
from conftest import EOT, STRATEGIES, ScriptedModel, golden_filter
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList
from transformers.generation.streamers import BaseStreamer

from hf_learn2pd import DiffusionGenerationConfig, Learn2PD, Threshold, UnmaskingFilter

PROMPT = torch.tensor([[7, 8, 9], [1, 2, 3]])
ONES = torch.ones_like(PROMPT)
SCRIPT = ([5, 6, 7, 8, 3, 4], [0.99] * 6)


def test_returns_a_tensor_unless_asked_for_more(tiny_llada):
    options = {"attention_mask": ONES, "max_new_tokens": 8, "end_of_text": None}
    ids = tiny_llada.generate(PROMPT, **options)
    output = tiny_llada.generate(PROMPT, **options, return_dict_in_generate=True)
    assert ids.shape == (2, 11) and torch.equal(ids, output.sequences)
    assert output.unmasking_steps is None
    assert output.nfe.tolist() == [8, 8] and output.forward_passes == [("full", 2, 11, 0)] * 8


def test_input_ids_may_be_given_by_name(tiny_llada):
    by_name = tiny_llada.generate(input_ids=PROMPT, attention_mask=ONES, max_new_tokens=4)
    assert torch.equal(by_name, tiny_llada.generate(PROMPT, attention_mask=ONES, max_new_tokens=4))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decoding": "fastest"}, "`decoding` must be one of low_confidence, .*got 'fastest'"),
        ({"decoding": 3}, "`decoding` must be one of .*got 3"),
        ({"decoding": "oracle"}, "`reference_ids` must be given"),
        ({"decoding": "oracle", "reference_ids": torch.zeros(5, 4).long()}, "`reference_ids` must have one non-empty"),
        ({"decoding": "threshold", "reference_ids": torch.zeros(2, 4).long()}, "`reference_ids` must only be given"),
        ({"decoding": "threshold", "unmasking_filter": golden_filter()}, "`unmasking_filter` must only be given"),
        ({"decoding": "threshold", "filter_threshold": 0.9}, "`filter_threshold` must only be given"),
        ({"decoding": "learn2pd"}, "`unmasking_filter` must hold"),
        ({"decoding": "learn2pd", "unmasking_filter": golden_filter(), "filter_threshold": 2.0}, "`filter_threshold`"),
        (
            {"decoding": Learn2PD(golden_filter()), "block_length": 64, "max_new_tokens": 64},
            "`block_length` must be at most that of the filter, 32 .got 64",
        ),
        ({"block_length": 0}, "`block_length` must be an integer above 0 .got 0"),
        ({"block_length": 8.0}, "`block_length` must be an integer above 0 .got 8.0"),
        ({"steps": -1}, "`steps` must be an integer above 0"),
        ({"end_of_text": "maybe"}, "`end_of_text` must be one of accepted, cut, predicted or None .got 'maybe'"),
        ({"cfg_scale": -1.0}, "`cfg_scale` must be a number of at least 0"),
        ({"logits_eos_inf": "yes"}, "`logits_eos_inf` must be a bool"),
        ({"num_beams": 4}, "`num_beams` must be left alone"),
        ({"min_new_tokens": 4}, "`min_new_tokens` must be left alone"),
        ({"inputs_embeds": torch.zeros(1, 1, 1)}, "`inputs_embeds` must be None"),
        ({"mask_token_id": -1}, "`mask_token_id` must be a token id"),
        ({"blok_length": 8}, "blok_length"),
        ({"attention_mask": torch.tensor([[1, 1, 0], [1, 1, 1]])}, "`attention_mask` must be left-padded"),
        ({"streamer": object()}, "`streamer` must be a list of one streamer for each of the 2 rows"),
        ({"max_length": 2, "max_new_tokens": None}, "`max_new_tokens` must be"),
    ],
)
def test_bad_input_is_refused_before_any_forward(options, message, tiny_llada, monkeypatch):
    def forward(*args, **kwargs):
        raise AssertionError("a forward pass was made")

    class Streamer(BaseStreamer):
        def put(self, value): ...
        def end(self): ...

    if "streamer" in options:
        options = {"streamer": Streamer()}
    monkeypatch.setattr(tiny_llada.model, "forward", forward)
    with pytest.raises(ValueError, match=message):
        tiny_llada.generate(PROMPT, **({"attention_mask": ONES, "max_new_tokens": 8} | options))


def test_a_model_without_mask_token_or_end_of_text_says_so():
    with pytest.raises(ValueError, match="`mask_token_id` must be set"):
        ScriptedModel(*SCRIPT, mask_token_id=None).run()
    with pytest.raises(ValueError, match="`eos_token_id` must be set for `end_of_text='accepted'`"):
        ScriptedModel(*SCRIPT, eos_token_id=None, pad_token_id=None).run()
    ScriptedModel(*SCRIPT, eos_token_id=None, pad_token_id=None).run(end_of_text=None)


def test_the_mask_token_is_never_predicted():
    # Nothing suppresses it in the reference, which then loops for ever or leaves masks in the output.
    model = ScriptedModel([11, 5], [0.9, 0.8])
    output = model.run(decoding=Threshold(0.5), end_of_text=None)
    assert 11 not in output.sequences and output.sequences[0, 3] == 5


def test_steps_are_spread_over_blocks_as_in_llada():
    # 6 steps for 10 tokens in blocks of 4, 4, 2: by cumulative rounding 2, 2, 2.
    output = ScriptedModel(list(range(10)), [0.9] * 10).run(block_length=4, steps=6, end_of_text=None)
    counts = output.unmasking_steps[0].bincount().tolist()
    assert counts == [2, 2, 2, 2, 1, 1]


def test_more_steps_than_tokens_means_one_token_per_step():
    output = ScriptedModel(*SCRIPT).run(steps=60, block_length=3, end_of_text=None)
    assert output.nfe.tolist() == [6]


def test_prompt_of_another_length_and_max_length_count_from_the_prompt(tiny_llada):
    assert tiny_llada.generate(PROMPT, attention_mask=ONES, max_length=10, end_of_text=None).shape == (2, 10)


def test_generation_config_objects_are_merged_with_the_models_own(tiny_llada):
    options = {"attention_mask": ONES, "return_dict_in_generate": True}
    named = tiny_llada.generate(PROMPT, max_new_tokens=10, decoding="threshold", end_of_text=None, **options)
    for config in (
        DiffusionGenerationConfig(max_new_tokens=10, decoding="threshold", end_of_text=None),
        GenerationConfig(max_new_tokens=10, decoding="threshold", end_of_text=None),
    ):
        config.return_dict_in_generate = True
        assert torch.equal(tiny_llada.generate(PROMPT, config, attention_mask=ONES).sequences, named.sequences)
    # The call does not write into the caller's config.
    config = DiffusionGenerationConfig(max_new_tokens=10)
    tiny_llada.generate(PROMPT, config, attention_mask=ONES)
    assert config.eos_token_id is None and config.block_length is None


def test_no_end_of_text_survives_a_round_trip_through_the_config_file(tmp_path):
    for end_of_text in (None, "cut"):
        DiffusionGenerationConfig(end_of_text=end_of_text).save_pretrained(tmp_path)
        assert DiffusionGenerationConfig.from_pretrained(tmp_path).end_of_text == end_of_text


def test_seeded_sampling_repeats_and_differs_between_seeds(tiny_llada):
    def sample(seed, **options):
        generator = torch.Generator().manual_seed(seed)
        return tiny_llada.generate(
            PROMPT,
            attention_mask=ONES,
            max_new_tokens=12,
            do_sample=True,
            generator=generator,
            end_of_text=None,
            **options,
        ).tolist()

    assert sample(0) == sample(0) != sample(1)
    greedy = tiny_llada.generate(PROMPT, attention_mask=ONES, max_new_tokens=12, end_of_text=None).tolist()
    assert sample(0, top_k=1) == greedy
    assert sample(0, temperature=1e-4) == greedy
    assert sample(0, top_p=1e-4) == greedy


def test_num_return_sequences_repeats_every_prompt(tiny_llada):
    output = tiny_llada.generate(
        PROMPT, attention_mask=ONES, max_new_tokens=4, num_return_sequences=2, do_sample=True, end_of_text=None
    )
    assert output[:, :3].tolist() == [[7, 8, 9], [7, 8, 9], [1, 2, 3], [1, 2, 3]]


def test_logits_processors_see_one_row_per_position():
    seen = []

    class Forbid(LogitsProcessor):
        def __call__(self, input_ids, scores):
            seen.append((input_ids.shape, scores.shape))
            return scores.index_fill(-1, torch.tensor([5]), -torch.inf)

    output = ScriptedModel(*SCRIPT).run(
        [[1], [2]], logits_processor=LogitsProcessorList([Forbid()]), block_length=3, end_of_text=None
    )
    assert 5 not in output.sequences and output.sequences[:, 2:].tolist() == [[6, 7, 8, 3, 4]] * 2
    # Masks are no context: of each row there is the prompt.
    assert seen[0] == ((6, 1), (6, 12))
    assert 5 not in ScriptedModel(*SCRIPT).run(suppress_tokens=[5], end_of_text=None).sequences


def test_llada_options_against_early_ends():
    script = ([5, EOT, 7, EOT], [0.5, 0.99, 0.6, 0.9])
    never = ScriptedModel(*script).run(logits_eos_inf=True, end_of_text=None)
    assert EOT not in never.sequences
    last = ScriptedModel(*script).run(confidence_eos_eot_inf=True, end_of_text=None)
    assert last.sequences.tolist() == [[1, 2, 5, EOT, 7, EOT]]
    # Both tokens of the text come before both ends.
    assert last.unmasking_steps[0, [0, 2]].max() < last.unmasking_steps[0, [1, 3]].min()


def test_ends_are_unmasked_last_when_sampling_too():
    # In the original code the option has no effect at a temperature above 0.
    options = {"confidence_eos_eot_inf": True, "do_sample": True, "temperature": 0.01, "end_of_text": None}
    output = ScriptedModel([5, EOT, 7, EOT], [0.5, 0.99, 0.6, 0.9]).run(**options)
    assert output.unmasking_steps[0, [0, 2]].max() < output.unmasking_steps[0, [1, 3]].min()


def test_custom_generate_is_passed_through(tiny_llada, tmp_path):
    (tmp_path / "custom_generate").mkdir()
    (tmp_path / "custom_generate" / "generate.py").write_text(
        "def generate(model, inputs, decoding=None, **kwargs):\n    return type(model).__name__, decoding\n"
    )
    got = tiny_llada.generate(PROMPT, decoding="mine", custom_generate=str(tmp_path), trust_remote_code=True)
    assert got == ("LladaForMaskedDiffusion", "mine")


def test_a_streamer_gets_the_prompt_then_every_block():
    class Collect(BaseStreamer):
        def __init__(self):
            self.parts, self.ended = [], False

        def put(self, value):
            self.parts.append(value.flatten().tolist())

        def end(self):
            self.ended = True

    streamer = Collect()
    ScriptedModel([5, 6, 7, EOT, EOT, EOT], [0.99] * 6).run(decoding=Threshold(0.9), block_length=3, streamer=streamer)
    assert streamer.parts == [[1, 2], [5, 6, 7], [EOT]] and streamer.ended


def test_the_filter_is_found_in_the_models_own_repository(tiny_llada, tmp_path):
    tiny_llada.save_pretrained(tmp_path)
    golden_filter().save_pretrained(tmp_path / "unmasking_filter")
    model = type(tiny_llada).from_pretrained(tmp_path)
    options = {"attention_mask": ONES, "max_new_tokens": 32, "return_dict_in_generate": True}
    expected = tiny_llada.generate(PROMPT, decoding=Learn2PD(golden_filter()), **options)
    for given in (None, str(tmp_path / "unmasking_filter"), f"{tmp_path}:unmasking_filter", golden_filter()):
        output = model.generate(PROMPT, decoding="learn2pd", unmasking_filter=given, **options)
        assert torch.equal(output.sequences, expected.sequences) and torch.equal(output.nfe, expected.nfe)
    assert max(expected.nfe) < 32


def test_filter_threshold_overrides_the_filters_own(tiny_llada):
    options = {"attention_mask": ONES, "max_new_tokens": 32, "return_dict_in_generate": True, "decoding": "learn2pd"}
    filter = UnmaskingFilter(threshold=1.0)
    assert tiny_llada.generate(PROMPT, unmasking_filter=filter, end_of_text=None, **options).nfe.tolist() == [32, 32]
    output = tiny_llada.generate(PROMPT, unmasking_filter=filter, filter_threshold=0.0, end_of_text=None, **options)
    assert output.nfe.tolist() == [1, 1]


@pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)
def test_only_the_block_reaches_the_head(strategy, tiny_llada, monkeypatch):
    shapes = []
    head = tiny_llada.lm_head.forward
    monkeypatch.setattr(tiny_llada.lm_head, "forward", lambda hidden: shapes.append(hidden.shape) or head(hidden))
    tiny_llada.generate(PROMPT, attention_mask=ONES, max_new_tokens=40, block_length=8, decoding=strategy)
    assert shapes and {shape[1] for shape in shapes} == {8}


class HostReads(TorchDispatchMode):
    """Counts the scalars that the host reads from a tensor, each of which makes it wait for a device."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("block_cache", [None, "prefix", "dual"])
@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda each: type(each).__name__)
def test_a_denoising_step_reads_no_scalar_from_the_device(strategy, block_cache, tiny_llada):
    prompt = torch.tensor([[510, 3, 4], [1, 2, 3], [510, 510, 9]])
    counts = {}
    for length in (8, 40):
        with HostReads() as reads:
            output = tiny_llada.generate(
                prompt,
                attention_mask=torch.tensor([[0, 1, 1], [1, 1, 1], [0, 0, 1]]),
                decoding=strategy,
                max_new_tokens=length,
                block_length=8,
                block_cache=block_cache,
                end_of_text="cut",
                return_dict_in_generate=True,
            )
        counts[len(output.forward_passes)] = reads.count
    # Preparing and ending a call reads some, however many steps lie between; the list of rows that are done, a single
    # copy in every step, is no scalar.
    assert len(counts) == 2 and len(set(counts.values())) == 1
