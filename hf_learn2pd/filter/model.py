# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""The unmasking filter: the published two-layer MLP or a small transformer, saved to and loaded from the Hub."""

import math
import os
import tempfile
from collections.abc import Sequence
from numbers import Real
from pathlib import Path
from typing import Any, Self

import torch
from huggingface_hub import ModelCard, PyTorchModelHubMixin
from huggingface_hub.constants import SAFETENSORS_SINGLE_FILE
from torch import nn

from .features import FEATURES, HIDDEN_STATE, stack_features
from .hub import CARD, check_repo_id, find_filter, read_config, read_weights, write_custom_generate
from .networks import HEADS, PositionTransformer

__all__ = ["UnmaskingFilter", "check_features"]

_OPTIONS = (
    "block_length",
    "hidden_size",
    "threshold",
    "base_model",
    "architecture",
    "features",
    "num_layers",
    "state_size",
    "joint",
    "calibration",
)
_HUB_OPTIONS = ("revision", "cache_dir", "force_download", "local_files_only", "token")

# A filter is small beside its model; what is larger is a mistake, and would be found out only by its memory or time.
_LARGEST = {"block_length": 65_536, "hidden_size": 8_192, "num_layers": 64, "state_size": 65_536}


class UnmaskingFilter(
    nn.Module,
    PyTorchModelHubMixin,
    library_name="hf_learn2pd",
    license="apache-2.0",
    tags=["learn2pd", "diffusion-language-model", "parallel-decoding"],
    paper_url="https://huggingface.co/papers/2509.25188",
    model_card_template=CARD,
):
    r"""
    Predicts for every position of a block whether the model's prediction there already equals the final output.

    `"mlp"` is the published filter: two linear layers with a ReLU between them over the positions of a block, 2,112
    parameters at block length 32; a narrower block is padded with zeros on the right. `"transformer"` treats the
    positions as a set and serves any block length. Saved as safetensors with a config and a card; pickled weights are
    never read by `from_pretrained`. Source: https://huggingface.co/papers/2509.25188.

    Args:
        block_length (`int`, *optional*, defaults to 32):
            Positions of the longest block an `"mlp"` can look at; a `"transformer"` has no such limit.
        hidden_size (`int`, *optional*, defaults to 32):
            Width of the hidden layers.
        threshold (`float`, *optional*, defaults to 0.96):
            Filter probability above which a position is unmasked, used where `generate` is given no
            `filter_threshold`. The published value for LLaDA is 0.96.
        base_model (`str`, *optional*):
            Hub id or name of the model whose predictions it was trained on; written to the card.
        architecture (`str`, *optional*, defaults to `"mlp"`):
            `"mlp"` or `"transformer"`.
        features (`Sequence[str]`, *optional*, defaults to `("confidence",)`):
            What it looks at: confidence, margin, entropy, mask_ratio, position, unchanged, and with a `"transformer"`
            hidden_state, eight numbers that it learns to make of the model's last hidden state at the position.
        num_layers (`int`, *optional*, defaults to 2):
            Layers of a `"transformer"`.
        state_size (`int`, *optional*):
            Width of the model's hidden states, if they are among the features.
        joint (`bool`, *optional*, defaults to `False`):
            Whether the threshold is for all that is unmasked together: the most probable positions are unmasked as long
            as their chances of being wrong sum up to less than `1 - threshold`, which bounds the chance that any of
            them is. Otherwise every position is compared with the threshold by itself, as published.
        calibration (`dict[str, Any]`, *optional*):
            How `threshold` was found, as [`calibrate_threshold`] writes it.

    Raises:
        ValueError: If an argument is out of range, or a loaded repository does not hold a complete, finite filter.
    """

    def __init__(
        self,
        block_length: int | None = 32,
        hidden_size: int = 32,
        threshold: float = 0.96,
        base_model: str | None = None,
        architecture: str = "mlp",
        features: Sequence[str] = ("confidence",),
        num_layers: int = 2,
        state_size: int | None = None,
        joint: bool = False,
        calibration: dict[str, Any] | None = None,
    ):
        super().__init__()
        if architecture not in ("mlp", "transformer"):
            raise ValueError(f"`architecture` must be 'mlp' or 'transformer' (got {architecture!r})")
        if architecture == "transformer":
            block_length = None
        sizes: dict[str, int | None] = {"hidden_size": hidden_size, "num_layers": num_layers}
        if architecture == "mlp":
            sizes["block_length"] = block_length
        if state_size is not None:
            sizes["state_size"] = state_size
        for name, value in sizes.items():
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _LARGEST[name]:
                raise ValueError(f"`{name}` must be an integer from 1 to {_LARGEST[name]} (got {value!r})")
        if architecture == "transformer" and hidden_size % HEADS:
            raise ValueError(f"`hidden_size` must be a multiple of {HEADS} for a transformer (got {hidden_size})")
        _check_threshold(threshold)
        check_features(features, architecture)
        if (HIDDEN_STATE in features) != (state_size is not None):
            known = "an integer" if HIDDEN_STATE in features else "None"
            raise ValueError(f"`state_size` must be {known} with these features (got {state_size!r})")
        if not isinstance(joint, bool):
            raise ValueError(f"`joint` must be True or False (got {joint!r})")
        for name, kind, given in (("base_model", str, base_model), ("calibration", dict, calibration)):
            if given is not None and not isinstance(given, kind):
                raise ValueError(f"`{name}` must be None or a {kind.__name__} (got {given!r})")
        self.block_length = block_length
        self.hidden_size = hidden_size
        self.threshold = threshold
        self.base_model = base_model
        self.architecture = architecture
        self.features = tuple(features)
        self.num_layers = num_layers
        self.state_size = state_size
        self.joint = joint
        self.calibration = calibration
        if block_length is None:
            scalars = sum(name != HIDDEN_STATE for name in self.features)
            self.network = PositionTransformer(scalars, hidden_size, num_layers, state_size)
        else:
            self.linear1 = nn.Linear(block_length * len(self.features), hidden_size)
            self.linear2 = nn.Linear(hidden_size, block_length)

    def forward(
        self,
        features: torch.Tensor,
        masked: torch.Tensor | None = None,
        in_block: torch.Tensor | None = None,
        hidden_states: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """
        Scores every position of a block.

        Args:
            features (`torch.FloatTensor` of shape `(rows, width, num_features)`):
                The filter's features at each position, masked or not; `width` at most `block_length`. A filter with one
                feature also takes `(rows, width)`.
            masked (`torch.BoolTensor` of shape `(rows, width)`, *optional*):
                Positions that are still to be unmasked, all if None. The MLP does not look at it.
            in_block (`torch.BoolTensor` of shape `(rows, width)`, *optional*):
                Positions that belong to the block, all if None; elsewhere the published filter sees zeros.
            hidden_states (`torch.FloatTensor` of shape `(rows, width, state_size)`, *optional*):
                The model's, for a filter that looks at them.

        Returns:
            `torch.FloatTensor` of shape `(rows, width)`: Logits; above 0 where a prediction is likelier final than not.
        """
        if features.ndim == 2:
            features = features[..., None]
        everywhere = torch.ones_like(features[..., 0], dtype=torch.bool)
        in_block = everywhere if in_block is None else in_block
        features = features.masked_fill(~in_block[..., None], 0.0)
        if self.block_length is None:
            logits: torch.Tensor = self.network(
                features, everywhere if masked is None else masked, in_block, hidden_states
            )
            return logits
        width = features.shape[1]
        padded = nn.functional.pad(features, (0, 0, 0, self.block_length - width)).to(self.linear1.weight.dtype)
        # Feature by feature, each over all positions.
        logits = self.linear2(torch.relu(self.linear1(padded.transpose(1, 2).flatten(1))))
        return logits[..., :width]

    def score(self, block: Any) -> torch.Tensor:
        """
        Scores every position of a block from what a forward pass of the language model has said about it.

        Args:
            block (`BlockPrediction` or `Trajectories`): Has the fields that the filter's features are made of.

        Returns:
            `torch.FloatTensor` of shape `(rows, width)`: Logits.
        """
        hidden_states = None if self.state_size is None else block.hidden_states
        logits: torch.Tensor = self(stack_features(block, self.features), block.masked, block.in_block, hidden_states)
        return logits

    def level(self, block: Any) -> torch.Tensor:
        """
        Finds the threshold up to which every position is accepted: it is unmasked if its level is above the threshold.

        Args:
            block (`BlockPrediction` or `Trajectories`): See [`~UnmaskingFilter.score`].

        Returns:
            `torch.FloatTensor` of shape `(rows, width)`: At most 1; of no meaning where nothing is masked.
        """
        logits = self.score(block).float()
        if not self.joint:
            return logits.sigmoid()
        wrong, order = (-logits).sigmoid().masked_fill(~block.masked, 1.0).sort(dim=-1, stable=True)
        return 1 - torch.zeros_like(wrong).scatter(-1, order, wrong.cumsum(dim=-1))

    def check(self) -> None:
        """
        Looks for what would spoil every answer in silence, such as a threshold set later on.

        Raises:
            ValueError: If `threshold` is not between 0 and 1, or a weight is not a finite real number.
        """
        _check_threshold(self.threshold)
        weights = dict(self.named_parameters())
        for name, weight in weights.items():
            if not weight.is_floating_point():
                raise ValueError(f"`{name}` of the filter must be of a floating point type (got {weight.dtype})")
        # One answer for all of them: a filter on an accelerator is waited for once.
        if not nn.utils.get_total_norm(list(weights.values()), norm_type=math.inf).isfinite():
            broken = [name for name, weight in weights.items() if not weight.isfinite().all()]
            raise ValueError(f"The weights of the filter must be finite (got nan or inf in {', '.join(broken)})")

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
        state = {name.removeprefix("module."): value for name, value in state.items()}
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
        return cls.from_pretrained(find_filter(source))

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], *, push_to_hub: bool = False, **kwargs: Any
    ) -> str | None:
        """
        Saves `model.safetensors`, `config.json` and, where there is none yet, the card `README.md`.

        Every file is written under another name and moved into place, so an interrupted call leaves no half a file. The
        weights go first and come last: nobody can load them with the threshold of others.
        Arguments are those of [`~huggingface_hub.ModelHubMixin.save_pretrained`]; `model_card_kwargs` may hold
        `repo_id`, and Markdown for the sections `training` and `results`.
        """
        self.check()
        if "repo_id" in (kwargs.get("model_card_kwargs") or {}):
            check_repo_id(kwargs["model_card_kwargs"]["repo_id"])
        config = {name: getattr(self, name) for name in _OPTIONS} | {"features": list(self.features)}
        kwargs["config"] = config | (kwargs.get("config") or {})
        parameters = f"{sum(parameter.numel() for parameter in self.parameters()):,}"
        card = {"filter": self, "parameters": parameters}
        kwargs["model_card_kwargs"] = card | (kwargs.get("model_card_kwargs") or {})
        directory = Path(save_directory)
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory, prefix=".saving-") as temporary:
            super().save_pretrained(temporary, **kwargs)
            if "repo_id" in kwargs["model_card_kwargs"]:
                write_custom_generate(Path(temporary), kwargs["model_card_kwargs"]["repo_id"])
            (directory / SAFETENSORS_SINGLE_FILE).unlink(missing_ok=True)
            for file in sorted(Path(temporary).rglob("*.*"), key=lambda file: file.name == SAFETENSORS_SINGLE_FILE):
                target = directory / file.relative_to(temporary)
                if file.name != "README.md" or not target.exists():
                    target.parent.mkdir(exist_ok=True)
                    os.replace(file, target)
        if push_to_hub:
            kwargs.setdefault("repo_id", directory.name)
            return self.push_to_hub(**kwargs)
        return None

    def push_to_hub(self, repo_id: str, **kwargs: Any) -> str:
        """
        Uploads the filter, its card, and code for `generate(custom_generate=repo_id, trust_remote_code=True)`.

        Arguments are those of [`~huggingface_hub.ModelHubMixin.push_to_hub`], such as `private`, `token`, `branch`,
        `commit_message` and `model_card_kwargs`.

        Returns:
            `str`: Where the commit is.
        """
        repo_id = check_repo_id(repo_id)
        kwargs["model_card_kwargs"] = (kwargs.get("model_card_kwargs") or {}) | {"repo_id": repo_id}
        return super().push_to_hub(repo_id, **kwargs)

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """Renders `model_card.md`; a base model on the Hub goes into the metadata."""
        card = super().generate_model_card(*args, **kwargs)
        data: Any = card.data
        if self.base_model is not None and "/" in self.base_model:
            data.base_model = self.base_model
        return card

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any) -> Self:
        """
        Loads a filter from a directory or the Hub.

        Args:
            pretrained_model_name_or_path (`str` or `os.PathLike`): A directory or a Hub id.
            kwargs:
                `revision`, `cache_dir`, `force_download`, `local_files_only` and `token` as of
                [`~huggingface_hub.ModelHubMixin.from_pretrained`]; arguments of the filter, which win over its config.

        Returns:
            [`UnmaskingFilter`]

        Raises:
            ValueError: If the repository does not hold a complete, finite filter.
        """
        source = str(pretrained_model_name_or_path)
        hub = {name: kwargs[name] for name in _HUB_OPTIONS if name in kwargs}
        config = read_config(source, **hub)
        options = {name: config[name] for name in _OPTIONS if name in config}
        return cls._from_pretrained(model_id=source, **(options | kwargs))

    @classmethod
    def _from_pretrained(cls, *, model_id: str, map_location: str = "cpu", strict: bool = True, **kwargs: Any) -> Self:
        """Reads safetensors only; the base class would fall back to a pickle."""
        hub = {name: kwargs.pop(name) for name in _HUB_OPTIONS if name in kwargs}
        return cls._from_state(read_weights(model_id, map_location, **hub), model_id, **kwargs)

    @classmethod
    def _from_state(cls, state: dict[str, torch.Tensor], source: str, **options: Any) -> Self:
        """Builds the filter that a state dict describes; its shapes are the authority where a config has none."""
        if options.get("architecture", "mlp") == "mlp" and "linear1.weight" in state:
            check_features(options.get("features", ("confidence",)), "mlp")
            weight = state["linear1.weight"]
            if weight.ndim != 2:
                raise ValueError(f"`linear1.weight` must have two dimensions (got {tuple(weight.shape)} in {source})")
            block_length = weight.shape[1] // len(options.get("features", ("confidence",)))
            options = {"block_length": block_length, "hidden_size": weight.shape[0]} | options
        # Nothing is allocated before the shapes are known to be right.
        with torch.device("meta"):
            model = cls(**options)
        expected = model.state_dict()
        if set(state) != set(expected):
            missing, unknown = sorted(set(expected) - set(state)), sorted(set(state) - set(expected))
            raise ValueError(
                f"The filter must have the tensors of its architecture (got {source}: {missing} missing, "
                f"{unknown} unknown)"
            )
        for name, parameter in expected.items():
            if not state[name].is_floating_point():
                raise ValueError(f"`{name}` must be of a floating point type (got {state[name].dtype} in {source})")
            if state[name].shape != parameter.shape or not state[name].isfinite().all():
                wanted, got = tuple(parameter.shape), tuple(state[name].shape)
                raise ValueError(f"`{name}` must be finite and of shape {wanted} (got {got} in {source})")
        model.to_empty(device="cpu").load_state_dict(state)
        return model.eval()


def _check_threshold(threshold: Any) -> None:
    number: Any = threshold if isinstance(threshold, Real) and not isinstance(threshold, bool) else -1
    if not 0.0 <= number <= 1.0:
        raise ValueError(f"`threshold` must be between 0 and 1 (got {threshold!r})")


def check_features(features: Any, architecture: Any) -> None:
    """Raises a `ValueError` unless `features` are some that a filter of this architecture can look at."""
    known = [*FEATURES, *([HIDDEN_STATE] if architecture == "transformer" else [])]
    some = isinstance(features, Sequence) and not isinstance(features, str) and len(features) > 0
    if not some or not all(isinstance(name, str) and name in known for name in features):
        raise ValueError(f"`features` must be some of {', '.join(known)} (got {features!r})")
    if set(features) == {HIDDEN_STATE}:
        raise ValueError(f"`features` must hold a number beside the hidden state (got {features!r})")
