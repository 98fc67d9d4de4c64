# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Importing the package takes little beyond transformers: what few calls need is imported by them."""

import subprocess
import sys

# Of these some are optional, and the others take long to import.
HEAVY = {"datasets", "fastapi", "hypothesis", "lm_eval", "matplotlib", "openai", "pandas", "peft", "rich", "sglang"}
HEAVY |= {"scipy", "sklearn", "torchvision", "uvicorn"}


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys; from transformers import LlamaForCausalLM; before = set(sys.modules); import hf_learn2pd; "
    code += "print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # What a model of transformers needs is no matter of this package.
    imported = {name.partition(".")[0] for name in done.stdout.split()}
    assert "hf_learn2pd" in imported and not imported & HEAVY
