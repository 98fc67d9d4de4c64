# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""What `generate` returns is read as the output of any other model."""

import torch

from hf_learn2pd import DiffusionGenerationOutput


def test_what_other_outputs_have_is_none_and_left_out_of_keys(tiny_llada):
    output = tiny_llada.generate(torch.tensor([[1, 2, 3]]), max_new_tokens=8, return_dict_in_generate=True)
    assert output.logits is None and output.scores is None and output.hidden_states is None
    keys = ["sequences", "nfe", "tokens_per_forward", "forward_passes"]
    assert list(output) == list(output.keys()) == keys
    assert "logits" not in output and output.get("scores") is None
    values = output.to_tuple()
    assert len(values) == len(keys) and all(value is output[name] for name, value in zip(keys, values, strict=True))
    assert output[0] is output.sequences


def test_what_is_asked_for_takes_its_place_before_what_is_never_set():
    ids, steps = torch.tensor([[1, 2]]), torch.tensor([[0, 1]])
    output = DiffusionGenerationOutput(ids, unmasking_steps=steps)
    assert list(output) == ["sequences", "unmasking_steps"] and output.to_tuple()[1] is steps
