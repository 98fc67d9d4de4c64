# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""What is used of transformers beyond its public interface is still there and still means the same."""

import ast
import importlib
import inspect
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import DynamicCache, GenerationConfig, GenerationMixin, LlamaConfig, LlamaForCausalLM

import hf_learn2pd
from hf_learn2pd import compatibility
from hf_learn2pd.cache import BlockCacheLayer
from hf_learn2pd.compatibility import FROM_MODEL_CONFIG, DynamicLayer, attention_implementation, cache_argument

PACKAGE = Path(hf_learn2pd.__file__).parent
# Every name outside of transformers' documented interface, and what stands on it.
PRIVATE = {
    "transformers.cache_utils:DynamicLayer.lazy_initialization": "BlockCache allocates its buffers there",
    "transformers.cache_utils:DynamicLayer.update": "BlockCache writes windows there",
    "transformers.cache_utils:DynamicLayer.get_mask_sizes": "masks of a window span the whole canvas",
    "transformers.cache_utils:DynamicLayer.get_seq_length": "BlockCache asks how many columns are shown",
    "transformers.cache_utils:DynamicLayer.reset": "BlockCache drops its buffers there",
    "transformers.cache_utils:DynamicLayer.reorder_cache": "rows of BlockCache change places",
    "transformers.cache_utils:DynamicLayer.batch_select_indices": "rows of BlockCache leave",
    "transformers.cache_utils:DynamicLayer.batch_repeat_interleave": "rows of BlockCache are repeated",
    "transformers.conversion_mapping:get_checkpoint_conversion_mapping": "LLaDA-MoE stacks experts like Qwen3-MoE",
    "transformers.conversion_mapping:register_checkpoint_conversion_mapping": "official tensor names in and out",
    "transformers.core_model_loading:WeightRenaming": "official tensor names in and out",
    "transformers:GenerationConfig._get_default_generation_params": "DiffusionGenerationConfig has other defaults",
    "transformers:GenerationConfig._dict_from_json_file": "a foreign generation config loses what is foreign",
    "transformers:GenerationMixin.adjust_generation_fn": "a loaded generation config becomes a diffusion one",
}


@pytest.mark.parametrize("name", PRIVATE)
def test_private_name_is_where_it_was(name):
    module, _, path = name.partition(":")
    found = importlib.import_module(module)
    for part in path.split("."):
        assert hasattr(found, part), f"transformers has moved {name} ({part} is missing): {PRIVATE[name]}"
        found = getattr(found, part)


def test_every_override_of_a_cache_layer_replaces_something():
    own = {"__init__", "show", "grow", "_change"}
    methods = {name for name, value in vars(BlockCacheLayer).items() if inspect.isfunction(value)}
    for name in methods - own:
        assert f"transformers.cache_utils:DynamicLayer.{name}" in PRIVATE and hasattr(DynamicLayer, name), name


def test_no_other_module_uses_private_names_of_transformers():
    gathered = {"transformers.cache_utils", "transformers.conversion_mapping", "transformers.core_model_loading"}
    for file in PACKAGE.rglob("*.py"):
        if file == Path(compatibility.__file__):
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and not node.level:
                assert node.module not in gathered, f"{file}:{node.lineno}: import it from compatibility"
            elif isinstance(node, ast.Attribute) and node.attr in ("_attn_implementation", "_from_model_config"):
                raise AssertionError(f"{file}:{node.lineno}: {node.attr} is for compatibility to know")


def test_what_may_change_is_written_down_and_there():
    script = runpy.run_path(str(PACKAGE.parent / ".ci" / "private_symbols"))
    found = script["private_symbols"](PACKAGE)
    text = (PACKAGE.parent / ".github" / "CONTRIBUTING.md").read_text()
    assert text.split("```")[3].split() == list(found)
    for name, places in found.items():
        if name.startswith("transformers."):
            module, _, attribute = name.rpartition(".")
            # The server's needs packages that are not everywhere.
            if module != "transformers.cli.serve":
                assert hasattr(importlib.import_module(module), attribute), (name, places)
        else:
            assert any(hasattr(base, name) for base in (*script["BASES"], torch)), (name, places)


@pytest.fixture(scope="module")
def llama() -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=16, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, pad_token_id=0
    )
    torch.manual_seed(0)
    return LlamaForCausalLM(config).eval()


def test_attention_implementation_is_the_one_asked_for(llama):
    model = LlamaForCausalLM._from_config(llama.config, attn_implementation="eager")
    assert attention_implementation(model.config) == "eager"


def test_decoder_takes_a_cache_under_the_name_found(llama):
    cache = DynamicCache()
    name = cache_argument(llama.model.forward)
    assert name is not None, "a decoder's cache has got a third name"
    llama.model(torch.tensor([[1, 2, 3]]), use_cache=True, **{name: cache})
    assert cache.get_seq_length() == 3


@pytest.mark.parametrize("padding", [0, 1], ids=["without_padding", "with_padding"])
def test_is_causal_of_a_config_and_of_its_layers_makes_attention_bidirectional(llama, padding):
    mask = torch.tensor([[0] * padding + [1] * (4 - padding)])

    def first(last: int) -> torch.Tensor:
        return llama.model(torch.tensor([[1, 2, 3, last]]), attention_mask=mask).last_hidden_state[0, padding]

    with torch.no_grad():
        assert torch.equal(first(4), first(5))
        llama.config.is_causal = llama.model.config.is_causal = False
        llama.model.layers[0].self_attn.is_causal = False
        try:
            moved = not torch.equal(first(4), first(5))
        finally:
            llama.config.is_causal = llama.model.config.is_causal = True
            llama.model.layers[0].self_attn.is_causal = True
    assert moved, "masking_utils no longer reads `config.is_causal`, or attention no longer its own `is_causal`"


def test_a_config_made_from_a_models_is_marked_as_such(llama):
    assert GenerationConfig.from_model_config(llama.config).to_dict()[FROM_MODEL_CONFIG] is True


def test_generate_hands_a_custom_loop_what_it_names(llama):
    assert "custom_generate" in inspect.signature(GenerationMixin.generate).parameters
    seen = {}

    def loop(model, input_ids, logits_processor, stopping_criteria, generation_config, **model_kwargs):
        seen.update(model_kwargs, generation_config=generation_config)
        return input_ids

    prompt = torch.tensor([[1, 2]])
    assert torch.equal(llama.generate(prompt, custom_generate=loop, max_new_tokens=3), prompt)
    assert seen["generation_config"].max_length == 5 and "attention_mask" in seen


def run_pytest(folder: Path, module: str) -> subprocess.CompletedProcess[str]:
    """Runs, under this repository's filters, a test that calls what `module` warns about."""
    (folder / f"{module}.py").write_text("import outdated\n\n\ndef call():\n    outdated.call()\n")
    (folder / "outdated.py").write_text(
        "import warnings\n\n\ndef call():\n    warnings.warn('old', FutureWarning, stacklevel=2)\n"
    )
    (folder / "test_it.py").write_text(f"import {module}\n\n\ndef test_it():\n    {module}.call()\n")
    settings = Path(__file__).parents[1] / "pyproject.toml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(settings)]
    return subprocess.run(
        [*command, "--rootdir", str(folder), str(folder)], cwd=folder, capture_output=True, text=True, timeout=60
    )


def test_deprecated_call_of_this_package_is_an_error(tmp_path):
    result = run_pytest(tmp_path, "hf_learn2pd_stand_in")
    assert result.returncode == 1 and "FutureWarning: old" in result.stdout, result.stdout


def test_deprecated_call_of_a_dependency_is_none(tmp_path):
    result = run_pytest(tmp_path, "some_dependency")
    assert result.returncode == 0 and "1 warning" in result.stdout, result.stdout
