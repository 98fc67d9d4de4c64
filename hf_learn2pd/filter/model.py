# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""The published Learn2PD filter: a two-layer MLP over the confidences of a block, saved to and loaded from the Hub."""

import os
import tempfile
from pathlib import Path
from typing import Any, Self

import torch
from huggingface_hub import PyTorchModelHubMixin, hf_hub_download, snapshot_download
from huggingface_hub.constants import SAFETENSORS_SINGLE_FILE
from huggingface_hub.errors import EntryNotFoundError
from safetensors.torch import load_file
from torch import nn

__all__ = ["UnmaskingFilter"]

# In a checkout the template lies beside the package, in a wheel inside it.
_CARD = next(
    path
    for path in (Path(__file__).parents[1] / "model_card.md", Path(__file__).parents[2] / "model_card.md")
    if path.exists()
).read_text(encoding="utf-8")


class UnmaskingFilter(
    nn.Module,
    PyTorchModelHubMixin,
    library_name="hf_learn2pd",
    license="apache-2.0",
    tags=["learn2pd", "diffusion-language-model", "parallel-decoding"],
    paper_url="https://huggingface.co/papers/2509.25188",
    model_card_template=_CARD,
):
    r"""
    Predicts from the confidences of a block which predictions already equal the final output.

    Two linear layers with a ReLU between them, as published; 2,112 parameters at block length 32. A narrower block is
    padded with zeros on the right. Saved as safetensors with a config and a card; pickled weights are never read by
    `from_pretrained`. Source: https://huggingface.co/papers/2509.25188.

    Args:
        block_length (`int`, *optional*, defaults to 32):
            Positions of the longest block the filter can look at.
        hidden_size (`int`, *optional*, defaults to 32):
            Width of the hidden layer.
        threshold (`float`, *optional*, defaults to 0.96):
            Filter probability above which a position is unmasked, used where `generate` is given no
            `filter_threshold`. The published value for LLaDA is 0.96.
        base_model (`str`, *optional*):
            Hub id or name of the model whose confidences it was trained on; written to the card.

    Raises:
        ValueError: If an argument is out of range, or a loaded repository does not hold a complete, finite filter.
    """

    def __init__(
        self, block_length: int = 32, hidden_size: int = 32, threshold: float = 0.96, base_model: str | None = None
    ):
        super().__init__()
        for name, value in (("block_length", block_length), ("hidden_size", hidden_size)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"`{name}` must be an integer above 0 (got {value!r})")
        if not 0.0 <= threshold <= 1.0:
            raise ValueError(f"`threshold` must be between 0 and 1 (got {threshold!r})")
        self.block_length = block_length
        self.hidden_size = hidden_size
        self.threshold = threshold
        self.base_model = base_model
        self.linear1 = nn.Linear(block_length, hidden_size)
        self.linear2 = nn.Linear(hidden_size, block_length)

    def forward(self, confidence: torch.Tensor) -> torch.Tensor:
        """
        Scores every position of a block.

        Args:
            confidence (`torch.FloatTensor` of shape `(rows, width)`):
                Probability of the predicted token at each position, masked or not; `width` at most `block_length`.

        Returns:
            `torch.FloatTensor` of shape `(rows, width)`: Logits; above 0 where a prediction is likelier final than not.
        """
        width = confidence.shape[-1]
        padded = nn.functional.pad(confidence, (0, self.block_length - width)).to(self.linear1.weight.dtype)
        return self.linear2(torch.relu(self.linear1(padded)))[..., :width]

    @classmethod
    def from_original(cls, path: str | os.PathLike[str], threshold: float = 0.96) -> Self:
        """
        Converts filter weights of the original release, such as `layer_2_flan.pth`.

        Args:
            path (`str` or `os.PathLike`): A file with the state dict of the two layers.
            threshold (`float`, *optional*, defaults to 0.96): The filter's threshold; the release does not store one.

        Returns:
            [`UnmaskingFilter`]: The same filter, ready for `save_pretrained`.

        Raises:
            ValueError: If the file holds anything but the weights of a two-layer filter.
        """
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
            raise ValueError(f"`path` must be a state dict of tensors (got {type(state).__name__} in {path})")
        # `nn.DataParallel` puts its own prefix before every name.
        state = {name.removeprefix("module."): value.float() for name, value in state.items()}
        return cls._from_state(state, str(path), threshold=threshold)

    @classmethod
    def load(cls, source: str | os.PathLike[str]) -> Self:
        """
        Loads a filter from where `generate(unmasking_filter=...)` may point.

        Args:
            source (`str` or `os.PathLike`): A Hub id or a directory, either with `:subfolder` behind it.

        Returns:
            [`UnmaskingFilter`]

        Raises:
            ValueError: If there is no filter.
        """
        if os.path.isdir(source):
            return cls.from_pretrained(Path(source))
        repository, _, subfolder = str(source).partition(":")
        if not subfolder:
            return cls.from_pretrained(repository)
        if not os.path.isdir(repository):
            repository = snapshot_download(repository, allow_patterns=f"{subfolder}/*")
        if not os.path.isdir(os.path.join(repository, subfolder)):
            raise ValueError(f"`unmasking_filter` must hold the folder {subfolder!r} (got {source})")
        return cls.from_pretrained(os.path.join(repository, subfolder))

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], *, push_to_hub: bool = False, **kwargs: Any
    ) -> str | None:
        """
        Saves `model.safetensors`, `config.json` and, where there is none yet, the card `README.md`.

        Every file is written under another name and moved into place, so an interrupted call leaves no half a file.
        Arguments are those of [`~huggingface_hub.ModelHubMixin.save_pretrained`].
        """
        names = ("block_length", "hidden_size", "threshold", "base_model")
        kwargs["config"] = {name: getattr(self, name) for name in names} | (kwargs.get("config") or {})
        parameters = f"{sum(parameter.numel() for parameter in self.parameters()):,}"
        card = {"filter": self, "parameters": parameters}
        kwargs["model_card_kwargs"] = card | (kwargs.get("model_card_kwargs") or {})
        directory = Path(save_directory)
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory, prefix=".saving-") as temporary:
            super().save_pretrained(temporary, **kwargs)
            for file in Path(temporary).iterdir():
                if file.name != "README.md" or not (directory / file.name).exists():
                    os.replace(file, directory / file.name)
        if push_to_hub:
            kwargs.setdefault("repo_id", directory.name)
            return self.push_to_hub(**kwargs)
        return None

    @classmethod
    def _from_pretrained(cls, *, model_id: str, map_location: str = "cpu", strict: bool = True, **kwargs: Any) -> Self:
        """Reads safetensors only; the base class would fall back to a pickle."""
        names = ("revision", "cache_dir", "force_download", "local_files_only", "token")
        hub = {name: kwargs.pop(name, None) for name in names}
        if os.path.isdir(model_id):
            file = os.path.join(model_id, SAFETENSORS_SINGLE_FILE)
        else:
            try:
                file = hf_hub_download(model_id, SAFETENSORS_SINGLE_FILE, **hub)
            except EntryNotFoundError:
                file = ""
        if not os.path.isfile(file):
            raise ValueError(f"`unmasking_filter` must hold {SAFETENSORS_SINGLE_FILE} (got none in {model_id})")
        return cls._from_state(load_file(file, device=map_location), model_id, **kwargs)

    @classmethod
    def _from_state(cls, state: dict[str, torch.Tensor], source: str, **options: Any) -> Self:
        """Builds the filter that a state dict describes; its shapes are the authority where a config has none."""
        expected = {"linear1.weight", "linear1.bias", "linear2.weight", "linear2.bias"}
        if set(state) != expected:
            raise ValueError(f"The filter must have the tensors {sorted(expected)} (got {sorted(state)} in {source})")
        hidden_size, block_length = state["linear1.weight"].shape
        model = cls(**{"block_length": block_length, "hidden_size": hidden_size} | options)
        for name, parameter in model.named_parameters():
            if state[name].shape != parameter.shape or not state[name].isfinite().all():
                wanted, got = tuple(parameter.shape), tuple(state[name].shape)
                raise ValueError(f"`{name}` must be finite and of shape {wanted} (got {got} in {source})")
        model.load_state_dict(state)
        return model.eval()
