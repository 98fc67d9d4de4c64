# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""`python -m hf_learn2pd`, which is the command `hf-learn2pd`."""

from .commands import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
