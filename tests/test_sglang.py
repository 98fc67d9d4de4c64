# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""The plugin for SGLang, in SGLang's own loops: equal to its own algorithm and to `generate`."""

import importlib
import inspect
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
import sglang_files
import torch
from conftest import golden_filter
from test_block_causal import BLOCK, MASK, tiny

from hf_learn2pd import UnmaskingFilter

# A new release of SGLang is not to fail the tests of a user.
pytestmark = pytest.mark.slow
PROMPTS = [[1, 2, 3, 4, 5], [6, 7, 8], [9, 10, 11, 12], [20, 21, 22, 23, 24, 25]]
COLUMNS = 24
FEATURES = ["confidence", "position", "margin", "entropy", "unchanged", "mask_ratio"]


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        yield sglang_files.load(patch, tmp_path_factory.mktemp("sglang"))
        for name in [name for name in sys.modules if name.split(".")[0] == "sglang"]:
            del sys.modules[name]


@pytest.fixture(scope="module")
def transformer_filter(tmp_path_factory):
    torch.manual_seed(0)
    directory = tmp_path_factory.mktemp("filter")
    filter = UnmaskingFilter(architecture="transformer", features=FEATURES, threshold=0.5)
    with torch.no_grad():
        # So that it hangs on what it sees.
        for weight in filter.parameters():
            weight.mul_(4)
    filter.save_pretrained(directory)
    return str(directory)


@pytest.fixture(scope="module")
def mlp_filter(tmp_path_factory):
    directory = tmp_path_factory.mktemp("filter")
    golden_filter().save_pretrained(directory)
    return str(directory)


def config_of(fdfo=False, **options):
    config = importlib.import_module("sglang.srt.dllm.config").DllmConfig
    return config("Learn2PD", options, BLOCK, MASK, len(PROMPTS), first_done_first_out_mode=fdfo)


class Engine:
    """Stands for SGLang's scheduler and runner: whole blocks of requests, each behind its own prefix."""

    def __init__(self, algorithm, family="sdar", sharpness=1.0, tells_prompt=True, prompts=PROMPTS):
        self.algorithm, self.model, self.sharpness = algorithm, tiny(family), sharpness
        self.tells_prompt = tells_prompt
        self.texts = [prompt + [MASK] * (COLUMNS - len(prompt)) for prompt in prompts]
        self.lengths = [len(prompt) for prompt in prompts]
        self.firsts = [length // BLOCK * BLOCK for length in self.lengths]
        self.passes = [0] * len(prompts)

    @torch.no_grad()
    def forward(self, batch, pp_proxy_tensors):
        logits = []
        for request, ids in zip(self.running, batch.input_ids.view(-1, BLOCK), strict=True):
            first = self.firsts[request]
            canvas = torch.cat((torch.tensor(self.texts[request][:first], dtype=torch.long), ids))
            block = torch.arange(first + BLOCK) // BLOCK
            mask = (block[None, :] <= block[:, None])[None, None]
            logits.append(self.sharpness * self.model(canvas[None], attention_mask=mask).logits[0, first:])
            # As a trained model does, which never predicts it.
            logits[-1][:, MASK] = -torch.inf
            self.passes[request] += 1
        logits = torch.cat(logits)
        # In place, as a CUDA graph would read it again.
        self.address = self.address or batch.input_ids.data_ptr()
        assert batch.input_ids.data_ptr() == self.address
        return SimpleNamespace(logits_output=SimpleNamespace(full_logits=logits), can_run_graph=False)

    def run(self):
        states = [None] * len(self.texts)
        while self.running_now():
            ids = [self.texts[each][self.firsts[each] : self.firsts[each] + BLOCK] for each in self.running]
            columns = [torch.arange(self.firsts[each], self.firsts[each] + BLOCK) for each in self.running]
            prompt = torch.stack(
                [column < self.lengths[each] for column, each in zip(columns, self.running, strict=True)]
            )
            batch = SimpleNamespace(input_ids=torch.tensor(ids).flatten(), batch_size=len(ids), dllm_prompt_mask=None)
            if self.tells_prompt:
                batch.dllm_prompt_mask = prompt
            self.address = None
            result = self.algorithm.run(self, batch, [states[each] for each in self.running])
            _, tokens, accepted, states_out, _ = result
            for place, each in enumerate(self.running):
                first = self.firsts[each]
                if self.algorithm.fdfo:
                    self.texts[each][first : first + BLOCK] = tokens[place]
                    states[each] = states_out[place]
                    self.firsts[each] += accepted[place]
                else:
                    self.texts[each][first + BLOCK - len(tokens[place]) : first + BLOCK] = tokens[place].tolist()
                    self.firsts[each] += BLOCK
        return self.texts

    def running_now(self):
        self.running = [each for each, first in enumerate(self.firsts) if first < COLUMNS]
        return self.running


@pytest.mark.parametrize("fdfo", [False, True])
@pytest.mark.parametrize("threshold", [0.5, 0.9, 0.95])
def test_a_threshold_is_sglangs_own_algorithm(plugin, threshold, fdfo):
    own = importlib.import_module("sglang.srt.dllm.algorithm.low_confidence").LowConfidence
    engines = [
        Engine(own(config_of(fdfo, threshold=threshold)), sharpness=6.0),
        Engine(
            plugin.Learn2PDAlgorithm(config_of(fdfo, decoding={"name": "threshold", "threshold": threshold})),
            sharpness=6.0,
        ),
    ]
    texts = [engine.run() for engine in engines]
    assert texts[0] == texts[1] and engines[0].passes == engines[1].passes
    assert all(MASK not in text for text in texts[0])
    # Five blocks of four tokens, one by one and with a pass to store each block, would take 25.
    assert max(engines[0].passes) < 25


def generated(family, prompt, **options):
    return tiny(family).generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        max_new_tokens=COLUMNS - len(prompt),
        block_length=BLOCK,
        end_of_text=None,
        return_dict_in_generate=True,
        **options,
    )


@pytest.mark.parametrize(("fdfo", "tells_prompt"), [(False, True), (True, False)])
@pytest.mark.parametrize(("family", "filter"), [("sdar", "transformer_filter"), ("llada2_moe", "mlp_filter")])
def test_a_filter_writes_what_generate_writes(plugin, filter, family, fdfo, tells_prompt, request):
    path = request.getfixturevalue(filter)
    options = {"unmasking_filter": path, "filter_threshold": 0.3 if filter == "mlp_filter" else 0.5}
    engine = Engine(plugin.Learn2PDAlgorithm(config_of(fdfo, **options)), family, tells_prompt=tells_prompt)
    texts = engine.run()
    for row, prompt in enumerate(PROMPTS):
        output = generated(family, prompt, decoding="learn2pd", **options)
        assert texts[row] == output.sequences[0].tolist()
        if fdfo:
            # One more pass for each block stores what is final.
            blocks = (COLUMNS - len(prompt) // BLOCK * BLOCK) // BLOCK
            assert engine.passes[row] == output.nfe[0] + blocks


@pytest.mark.parametrize("decoding", ["margin", "entropy", "local_leap", {"name": "threshold", "threshold": 0.3}])
def test_so_does_a_strategy(plugin, decoding):
    engine = Engine(plugin.Learn2PDAlgorithm(config_of(True, decoding=decoding)))
    expected = [generated("sdar", prompt, decoding=decoding).sequences[0].tolist() for prompt in PROMPTS]
    assert engine.run() == expected


def test_both_spellings_of_a_step_do_the_same(plugin):
    algorithm = plugin.Learn2PDAlgorithm(config_of(decoding="threshold"))
    logits = torch.randn(2 * BLOCK, 128, generator=torch.Generator().manual_seed(0)) * 4
    found = []
    for given in (logits, SimpleNamespace(full_logits=logits)):
        batch = SimpleNamespace(input_ids=torch.tensor([3, MASK, MASK, MASK, 5, 6, 7, 8]), batch_size=2)
        done = algorithm.step(batch, given, algorithm.init_step_state(batch))
        assert done == [False, True]
        found.append(batch.input_ids.tolist())
    assert found[0] == found[1] and found[0][4:] == [5, 6, 7, 8] and found[0][:4].count(MASK) < 3


def test_a_mask_in_the_prompt_stays(plugin):
    algorithm = plugin.Learn2PDAlgorithm(config_of(decoding={"name": "threshold", "threshold": 0.0}))
    prompt = torch.tensor([[True, True, False, False]])
    batch = SimpleNamespace(input_ids=torch.tensor([MASK, 4, MASK, MASK]), batch_size=1, dllm_prompt_mask=prompt)
    algorithm.step(batch, torch.zeros(BLOCK, 128), algorithm.init_step_state(batch))
    assert batch.input_ids.tolist() == [MASK, 4, 0, 0]


def test_sglang_finds_it_by_its_entry_point(plugin):
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    module, function = project["entry-points"]["sglang.srt.plugins"]["hf_learn2pd"].split(":")
    getattr(importlib.import_module(module), function)()
    algorithm = importlib.import_module("sglang.srt.dllm.algorithm").get_algorithm(config_of(decoding="threshold"))
    assert type(algorithm).__name__ == "Learn2PDAlgorithm"
    assert len(inspect.getsource(plugin).splitlines()) <= 80


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "`unmasking_filter` must be an UnmaskingFilter .got NoneType"),
        ({"decoding": "threshhold"}, "`decoding` must be one of"),
        ({"decoding": {"name": "threshold", "threshold": 2}}, "`threshold` must be between 0 and 1"),
        ({"decoding": "threshold", "threshold": 0.9}, "`algorithm_config` must hold .* only .got 'threshold'"),
        ({"decoding": "factor", "unmasking_filter": "x"}, "`algorithm_config` must hold .*got 'unmasking_filter'"),
        ({"decoding": "klass"}, "`decoding` must be a strategy that looks at one step .got Klass"),
        ({"decoding": "credit"}, "`decoding` must be a strategy that looks at one step .got Credit"),
        ({"decoding": "oracle"}, "`reference_ids` must be given"),
    ],
)
def test_what_it_cannot_do_is_refused_at_the_start(plugin, options, message):
    with pytest.raises(ValueError, match=message):
        plugin.Learn2PDAlgorithm(config_of(**options))
