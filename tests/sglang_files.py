# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""SGLang's own files for diffusion LLMs, with everything that they import from elsewhere left empty."""

import importlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "hf_learn2pd" / "sglang"
# What `sglang/srt/dllm` imports, and whose names.
ELSEWHERE = {
    "sglang.srt.arg_groups.overrides": ("resolving_view",),
    "sglang.srt.configs.model_config": ("ModelConfig",),
    "sglang.srt.layers.logits_processor": ("LogitsProcessorOutput",),
    "sglang.srt.model_executor.forward_batch_info": ("ForwardBatch",),
    "sglang.srt.model_executor.model_runner": ("ModelRunner",),
    "sglang.srt.server_args": ("ServerArgs",),
    "sglang.srt.utils": ("is_npu",),
}


def wheel() -> Path:
    """SGLang's wheel, from the cache or the package index; skips the test where there is neither."""
    CACHE.mkdir(parents=True, exist_ok=True)
    if not list(CACHE.glob("sglang-*.whl")):
        command = [sys.executable, "-m", "pip", "download", "sglang", "--no-deps", "--only-binary=:all:", "-d", CACHE]
        try:
            subprocess.run([*map(str, command)], check=True, capture_output=True, text=True, timeout=300)
        except (subprocess.SubprocessError, OSError) as error:
            pytest.skip(f"sglang cannot be downloaded: {error}")
    return max(CACHE.glob("sglang-*.whl"))


def load(patch: pytest.MonkeyPatch, directory: Path) -> Any:
    """
    Imports our plugin over SGLang's files, unpacked to a directory, until the patch is undone.

    Returns the module.
    """
    with zipfile.ZipFile(wheel()) as archive:
        archive.extractall(directory, [name for name in archive.namelist() if name.startswith("sglang/srt/dllm/")])
    for name in list(sys.modules):
        if name.split(".")[0] == "sglang" or name == "hf_learn2pd.serving.sglang":
            patch.delitem(sys.modules, name)
    patch.syspath_prepend(str(directory))
    for name, attributes in ELSEWHERE.items():
        module = ModuleType(name)
        for attribute in attributes:
            setattr(module, attribute, (lambda: False) if attribute == "is_npu" else type(attribute, (), {}))
        patch.setitem(sys.modules, name, module)
    return importlib.import_module("hf_learn2pd.serving.sglang")
