# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""A filter's network for blocks of any length."""

import torch
from torch import nn

__all__ = ["HEADS", "PositionTransformer"]

# Attention heads of every layer.
HEADS = 4

# Features are probabilities and their like; the difference between 0.99 and 0.999 matters more than that between 0.5
# and 0.6, so their logarithms go in as well, from here on.
_SMALLEST = 1e-6

# Numbers that are made of a hidden state.
_PROJECTED = 8


class PositionTransformer(nn.Module):
    r"""
    A small transformer over the positions of a block, which it treats as a set: any block length will do.

    Source: https://huggingface.co/papers/2505.24857.

    Args:
        num_features (`int`): Features of each position.
        hidden_size (`int`): Width.
        num_layers (`int`): Encoder layers.
        state_size (`int`, *optional*): Width of the model's hidden states; they are not looked at if None.
    """

    def __init__(self, num_features: int, hidden_size: int, num_layers: int, state_size: int | None = None):
        super().__init__()
        self.projection = None if state_size is None else nn.Linear(state_size, _PROJECTED)
        # Each feature with two logarithms, and whether the position is masked.
        inputs = 3 * num_features + 1 + (0 if state_size is None else _PROJECTED)
        self.embedding = nn.Linear(inputs, hidden_size)
        layer = nn.TransformerEncoderLayer(
            hidden_size, HEADS, 2 * hidden_size, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(
            layer, num_layers, norm=nn.LayerNorm(hidden_size), enable_nested_tensor=False
        )
        self.head = nn.Linear(hidden_size, 1)

    def forward(
        self,
        features: torch.Tensor,
        masked: torch.Tensor,
        in_block: torch.Tensor,
        hidden_states: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """
        Scores every position.

        Args:
            features (`torch.FloatTensor` of shape `(rows, width, num_features)`): Between 0 and 1.
            masked (`torch.BoolTensor` of shape `(rows, width)`): Positions that are still to be unmasked.
            in_block (`torch.BoolTensor` of shape `(rows, width)`): Positions that belong to the block.
            hidden_states (`torch.FloatTensor` of shape `(rows, width, state_size)`, *optional*): The model's.

        Returns:
            `torch.FloatTensor` of shape `(rows, width)`: Logits.
        """
        features = features.clamp(0, 1)
        logarithms = [values.clamp(min=_SMALLEST).log() / 5 for values in (features, 1 - features)]
        inputs = torch.cat((features, *logarithms, masked[..., None].to(features.dtype)), dim=-1)
        inputs = inputs.to(self.embedding.weight.dtype)
        if self.projection is not None:
            assert hidden_states is not None
            # Models differ in how large their hidden states are.
            normed = nn.functional.layer_norm(hidden_states.to(inputs.dtype), hidden_states.shape[-1:])
            inputs = torch.cat((inputs, self.projection(normed).tanh()), dim=-1)
        hidden = self.embedding(inputs)
        logits: torch.Tensor = self.head(self.encoder(hidden, src_key_padding_mask=~in_block))
        return logits.squeeze(-1)
