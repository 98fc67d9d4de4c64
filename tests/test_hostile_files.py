# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Files and prompts of others: nothing of them runs, nothing is allocated on their word, and the error names them."""

import json
import pickle
import resource
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from hf_learn2pd import UnmaskingFilter
from hf_learn2pd.datasets import generate_dataset
from hf_learn2pd.training.files import read_tensors
from hf_learn2pd.training.trajectories import load_trajectories

CHECKPOINT = Path(__file__).parents[1] / "examples" / "tiny_llada"


def crafted(header, length=None, data=bytes(8)):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def tensor(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


HEADERS = {
    "empty": b"",
    "as long as no memory": crafted({"a": tensor()}, length=2**63),
    "longer than the file": crafted({"a": tensor()}, length=10_000),
    "no json": crafted(b"{'a': 1}"),
    "a list": crafted([1]),
    "as deep as no stack": crafted(b"[" * 100_000),
    "beyond the end": crafted({"a": tensor(shape=(4,), offsets=(0, 16))}),
    "before the beginning": crafted({"a": tensor(offsets=(-8, 0))}),
    "backwards": crafted({"a": tensor(offsets=(8, 0))}),
    "the same bytes twice": crafted({"a": tensor(), "b": tensor()}),
    "a shape without bytes": crafted({"a": tensor(shape=(2**40, 2**40), offsets=(0, 8))}),
    "a shape that overflows": crafted({"a": tensor(shape=(2**63, 2), offsets=(0, 8))}),
    "an unknown type": crafted({"a": tensor(dtype="O")}),
    "bytes that no tensor has": crafted({"a": tensor()}, data=bytes(16)),
}


@pytest.mark.parametrize("content", HEADERS.values(), ids=HEADERS)
def test_a_crafted_header_is_refused_without_memory(content, tmp_path):
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    file = tmp_path / "model.safetensors"
    file.write_bytes(content)
    with pytest.raises(ValueError):
        read_tensors(file)
    with pytest.raises(ValueError, match=r"`unmasking_filter` must hold whole safetensors \(got .*model.safetensors"):
        UnmaskingFilter.from_pretrained(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({file.name: {}}))
    with pytest.raises(ValueError, match=r"`directory` must hold whole trajectories \(got .*model.safetensors"):
        load_trajectories(tmp_path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used < 100_000


class Marker:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("write", [pickle.dump, torch.save], ids=["pickle", "torch"])
def test_a_pickle_under_another_name_does_not_run(write, tmp_path):
    file, marker = tmp_path / "trajectories-00000.safetensors", tmp_path / "ran"
    with file.open("wb") as opened:
        write(Marker(marker), opened)
    (tmp_path / "run.json").write_text(json.dumps({file.name: {}}))
    with pytest.raises(ValueError, match="`directory` must hold whole trajectories"):
        load_trajectories(tmp_path)
    file.rename(tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="`unmasking_filter` must hold whole safetensors"):
        UnmaskingFilter.from_pretrained(tmp_path)
    assert not marker.exists()


def test_a_prompt_that_spells_special_tokens_is_refused_or_answered(tmp_path):
    model, tokenizer = AutoModelForCausalLM.from_pretrained(CHECKPOINT), AutoTokenizer.from_pretrained(CHECKPOINT)
    special = set(tokenizer.special_tokens_map.values())
    prompts = [f"add {text} 4" for text in sorted(special - {tokenizer.mask_token})]
    assert tokenizer.mask_token in special and len(prompts) > 1
    for text in special:
        ids = tokenizer.apply_chat_template([{"role": "user", "content": f"add {text} 4"}])["input_ids"]
        assert tokenizer.convert_tokens_to_ids(text) in ids
    options = {"max_new_tokens": 4, "progress": False}
    file = generate_dataset(model, tokenizer, prompts, tmp_path / "answers.jsonl", **options)
    assert [json.loads(line)["prompt"] for line in file.read_bytes().splitlines()] == prompts
    with pytest.raises(ValueError, match="mask"):
        generate_dataset(model, tokenizer, [f"add {tokenizer.mask_token} 4"], tmp_path / "masks.jsonl", **options)
