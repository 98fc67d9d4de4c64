# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""The real huggingface_hub client against a Hub on the loopback interface: filters go up and come back bit for bit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hub_server import TOKEN, Hub
from huggingface_hub import ModelCard

from hf_learn2pd import UnmaskingFilter

CHECKPOINT = Path(__file__).parents[1] / "examples" / "tiny_llada"

START = """
import json, sys, torch, hf_learn2pd
from hf_learn2pd import UnmaskingFilter

def weights(filter):
    return {name: value.tolist() for name, value in filter.state_dict().items()}

def failure(call):
    try:
        call()
    except Exception as error:
        return type(error).__name__
    return "nothing"

torch.manual_seed(0)
mlp = UnmaskingFilter(threshold=0.7, base_model="user/model")
transformer = UnmaskingFilter(architecture="transformer", features=["confidence", "margin"], threshold=0.6)
"""


@pytest.fixture(scope="module")
def hub():
    server = Hub()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def run(hub, tmp_path):
    """Runs code in a process whose Hub is ours; returns what it prints as JSON."""

    def start(code, **environment):
        # A proxy of the machine has no business between a process and itself.
        settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
        settings |= {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "OMP_NUM_THREADS": "1"}
        settings |= {"HF_HUB_DISABLE_TELEMETRY": "1"}
        kept = {name: value for name, value in os.environ.items() if name not in ("HF_TOKEN", "HF_HUB_OFFLINE")}
        done = subprocess.run(
            [sys.executable, "-c", START + code], capture_output=True, text=True, env=kept | settings | environment
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    return start


def test_a_filter_goes_up_and_comes_back_bit_for_bit(hub, run):
    sent, found = run(f"""
for repo_id, filter in (("user/mlp", mlp), ("user/transformer", transformer)):
    filter.push_to_hub(repo_id, token="{TOKEN}", commit_message="First")
loaded = [UnmaskingFilter.from_pretrained(repo_id) for repo_id in ("user/mlp", "user/transformer")]
assert [filter.threshold for filter in loaded] == [0.7, 0.6] and loaded[1].features == ("confidence", "margin")
print(json.dumps([[weights(filter) for filter in filters] for filters in ((mlp, transformer), loaded)]))
""")
    assert sent == found
    _, files = hub.files("user/mlp")
    assert set(files) == {"README.md", "config.json", "model.safetensors", "custom_generate/generate.py"}
    assert ("PUT", f"/objects/{next(iter(hub.objects))}") in hub.requests
    card = ModelCard(files["README.md"].decode())
    assert card.data.base_model == "user/model" and 'unmasking_filter="user/mlp"' in card.text


def test_revision_branch_and_privacy_are_passed_through(hub, run, tmp_path):
    result = run(f"""
from huggingface_hub.utils import RepositoryNotFoundError
mlp.push_to_hub("user/private", token="{TOKEN}", private=True)
first = UnmaskingFilter.from_pretrained("user/private", token="{TOKEN}")
mlp.threshold = 0.9
mlp.push_to_hub("user/private", token="{TOKEN}", branch="second")
second = UnmaskingFilter.from_pretrained("user/private", token="{TOKEN}", revision="second")
third = UnmaskingFilter.from_pretrained("user/private", token="{TOKEN}", revision="main")
print(json.dumps([
    first.threshold, second.threshold, third.threshold,
    failure(lambda: UnmaskingFilter.from_pretrained("user/private", cache_dir="{tmp_path}", token=False)),
    failure(lambda: UnmaskingFilter.from_pretrained("user/private", token="{TOKEN}", revision="none")),
    failure(lambda: mlp.push_to_hub("user/other", token="hf_wrong")),
]))
""")
    assert result == [0.7, 0.9, 0.7, "RepositoryNotFoundError", "RevisionNotFoundError", "HfHubHTTPError"]
    assert hub.files("user/other") is None


def test_the_cache_serves_when_the_hub_does_not(hub, run):
    run(f"""
transformer.push_to_hub("user/cached", token="{TOKEN}")
UnmaskingFilter.from_pretrained("user/cached")
print("0")
""")
    before = len(hub.requests)
    code = """
filter = UnmaskingFilter.from_pretrained("user/cached", local_files_only=LOCAL)
missing = failure(lambda: UnmaskingFilter.from_pretrained("user/missing", local_files_only=LOCAL))
print(json.dumps([filter.threshold, missing]))
"""
    for settings, local in (({}, "True"), ({"HF_HUB_OFFLINE": "1"}, "False")):
        threshold, missing = run(code.replace("LOCAL", local), **settings)
        assert threshold == 0.6 and missing == "LocalEntryNotFoundError"
    assert len(hub.requests) == before


def test_generate_loads_a_filter_by_name_and_as_custom_code(run, tmp_path):
    named, custom, subfolder, untrusted = run(f"""
from transformers import AutoModelForCausalLM
from huggingface_hub import HfApi
model = AutoModelForCausalLM.from_pretrained({str(CHECKPOINT)!r})
mlp.threshold = 0.55
mlp.push_to_hub("user/named", token="{TOKEN}")
mlp.save_pretrained("{tmp_path}/upload/deep")
HfApi(token="{TOKEN}").upload_folder(repo_id="user/named", folder_path="{tmp_path}/upload")
prompt = torch.arange(20, 40)[None]
options = {{"max_new_tokens": 64, "end_of_text": None}}
named = model.generate(prompt, decoding="learn2pd", unmasking_filter="user/named", **options)
custom = model.generate(prompt, custom_generate="user/named", trust_remote_code=True, **options)
deep = model.generate(prompt, decoding="learn2pd", unmasking_filter="user/named:deep", **options)
untrusted = failure(lambda: model.generate(prompt, custom_generate="user/named", trust_remote_code=False, **options))
print(json.dumps([named.tolist(), custom.tolist(), deep.tolist(), untrusted]))
""")
    assert named == custom == subfolder and untrusted == "ValueError"


def test_a_model_goes_up_with_its_filter_in_one_commit(hub, run, tmp_path):
    same = run(f"""
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained({str(CHECKPOINT)!r})
model.push_to_hub("user/model", token="{TOKEN}")
model.save_pretrained("{tmp_path}/again", push_to_hub=True, repo_id="user/again", token="{TOKEN}")
prompt, options = torch.arange(20, 40)[None], {{"max_new_tokens": 64, "decoding": "learn2pd"}}
models = [model, *(AutoModelForCausalLM.from_pretrained(name) for name in ("user/model", "user/again"))]
print(json.dumps([model.generate(prompt, **options).tolist() for model in models]))
""")
    assert same[0] == same[1] == same[2]
    for name in ("user/model", "user/again"):
        _, files = hub.files(name)
        assert {"model.safetensors", "unmasking_filter/model.safetensors", "unmasking_filter/config.json"} <= set(files)
        assert hub.requests.count(("POST", f"/api/models/{name}/commit/main")) == 1


def test_custom_code_says_what_to_install(tmp_path):
    UnmaskingFilter().save_pretrained(tmp_path, model_card_kwargs={"repo_id": "user/filter"})
    code = (tmp_path / "custom_generate" / "generate.py").read_text()
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.modules['hf_learn2pd'] = None\n{code}\ngenerate(None)"],
        capture_output=True,
        text=True,
    )
    assert "This filter needs hf_learn2pd: pip install hf_learn2pd" in done.stderr
    scope: dict[str, object] = {}
    exec(code, scope)
    with pytest.raises(ValueError, match=r"`model` must be loaded after `import hf_learn2pd`.*\(got Linear\)"):
        scope["generate"](torch.nn.Linear(1, 1))


def test_the_script_publishes_a_saved_filter_with_its_results(hub, run, tmp_path):
    UnmaskingFilter(threshold=0.8).save_pretrained(tmp_path / "saved")
    (tmp_path / "results.md").write_text("| decoder | accuracy |\n|---|---|\n| mine | 99.0 |\n")
    arguments = [str(tmp_path / "saved"), "user/published", "--base-model", "user/model", "--private"]
    arguments += ["--results", str(tmp_path / "results.md")]
    run(
        f"""
sys.path.insert(0, {str(CHECKPOINT.parent)!r})
import push_filter
url = push_filter.main({arguments})
print(json.dumps(url))
""",
        HF_TOKEN=TOKEN,
    )
    _, files = hub.files("user/published")
    card = ModelCard(files["README.md"].decode())
    assert card.data.base_model == "user/model" and "| mine | 99.0 |" in card.text
    assert hub.repositories["user/published"]["private"] and json.loads(files["config.json"])["threshold"] == 0.8
