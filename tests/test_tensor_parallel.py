# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Tensor parallelism is the one of transformers: several processes that share each layer write what one does."""

import json
import os
import subprocess
import sys

import pytest
import torch
from conftest import GOLDENS, golden_model

PROMPTS = [[510, 3, 4, 9, 12], [5, 6, 7, 8, 20]]
MASK = [[0, 1, 1, 1, 1], [1, 1, 1, 1, 1]]
OPTIONS = {"block_cache": "dual", "block_length": 4, "max_new_tokens": 4, "end_of_text": None}

SCRIPT = """
import json, os, sys
from pathlib import Path
import torch
from torch.distributed.tensor import DTensor
from transformers import AutoModelForCausalLM
import hf_learn2pd

torch.set_num_threads(1)
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], tp_plan="auto")
assert isinstance(model.model.layers[0].self_attn.q_proj.weight, DTensor)
prompts, mask, options = map(json.loads, sys.argv[3:])
output = model.generate(torch.tensor(prompts), attention_mask=torch.tensor(mask), **options)
(Path(sys.argv[2]) / f"{os.environ['RANK']}.json").write_text(json.dumps(output.tolist()))
"""


@pytest.mark.slow
def test_two_processes_that_share_each_layer_write_what_one_does(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    command += [str(GOLDENS / "tiny_llada"), str(tmp_path), *map(json.dumps, (PROMPTS, MASK, OPTIONS))]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-2000:]
    alone = golden_model("tiny_llada").generate(torch.tensor(PROMPTS), attention_mask=torch.tensor(MASK), **OPTIONS)
    shared = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert shared == [alone.tolist()] * 2
