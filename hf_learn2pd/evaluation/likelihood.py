# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""How likely an answer is under a diffusion LLM: LLaDA's estimate, and the chain rule of block-causal models."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import torch

from ..checks import LARGEST_SEED, check_integer, check_number
from ..compatibility import attention_mask
from ..special_tokens import SpecialTokens
from ..training.arguments import own_block_length

__all__ = ["Likelihood"]

# Positions whose logits are in memory at a time.
CHUNK = 1024


@dataclass(frozen=True)
class Likelihood:
    r"""
    Log-likelihoods of answers, given their prompts.

    A model that sees all of the canvas is asked as LLaDA's paper does: `l` of the answer's `L` tokens are masked, `l`
    from 1 to `L` and each number as likely as any other, and `L / l` times the log-probability of what is masked has
    the log-likelihood's bound as its mean. The numbers of one answer are spread evenly, as in the release, so that the
    mean of few draws varies less; each alone is uniform. Masks that are drawn more than once are computed once.
    Source: https://huggingface.co/papers/2502.09992, Algorithm 3.

    A block-causal model is asked for one token after the other, those behind it masked up to the end of its block: the
    chain rule from left to right, exact and without a draw.

    As in `generate`, the mask token has no probability.

    Args:
        model ([`DiffusionGenerationMixin`]): The model.
        mc_num (`int`, *optional*, defaults to 128): Masks that are drawn for an answer.
        batch_size (`int`, *optional*, defaults to 16): Copies of an answer in a forward pass.
        cfg_scale (`float`, *optional*, defaults to 0.0): Strength of classifier-free guidance; 0 for none.
        seed (`int`, *optional*, defaults to 0):
            Of the masks, which depend on the prompt and the answer besides, and on nothing else.

    Raises:
        ValueError: If a number is out of range.
    """

    model: Any
    mc_num: int = 128
    batch_size: int = 16
    cfg_scale: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_integer("mc_num", self.mc_num, 1)
        check_integer("batch_size", self.batch_size, 1)
        check_number("cfg_scale", self.cfg_scale, least=0)
        check_integer("seed", self.seed, 0, LARGEST_SEED)

    @torch.no_grad()
    def __call__(self, prompt: list[int], answer: list[int], check_greedy: bool = True) -> tuple[float, bool]:
        """
        Scores an answer.

        Args:
            prompt (`list[int]`): Token ids before it, one at least.
            answer (`list[int]`): Its token ids, one at least.
            check_greedy (`bool`, *optional*, defaults to `True`):
                Whether to look if the model would write it, which may take as many forward passes as it has tokens.

        Returns:
            `tuple[float, bool]`: Natural logarithm of the likelihood, and whether decoding one token per pass, the most
            confident first (the next one, for a block-causal model), in a region of the answer's length writes it;
            False if it was not looked at.

        Raises:
            ValueError: If prompt or answer are empty.
        """
        for name, ids in (("prompt", prompt), ("answer", answer)):
            if not ids:
                raise ValueError(f"`{name}` must hold a token at least (got none)")
        if self.model.block_causal:
            return self._chain(prompt, answer)
        text = torch.tensor(prompt + answer, device=self.model.device)
        masked, weights = (each.to(text.device) for each in self._masks(prompt, answer))
        total = 0.0
        for rows, of_rows in zip(masked.split(self.batch_size), weights.split(self.batch_size), strict=True):
            found, _, _ = self._read(text, len(prompt), rows, rows)
            total += float((found * of_rows[rows.nonzero()[:, 0]]).sum())
        return total, check_greedy and self._is_greedy(text, len(prompt))

    def _masks(self, prompt: list[int], answer: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Draws masks: `(draws, length)`, each once, and the weight of what is masked in each, `(draws,)`."""
        length = len(answer)
        digest = hashlib.blake2b(json.dumps([self.seed, prompt, answer]).encode(), digest_size=7).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest, "big"))
        first = torch.randint(length, (), generator=generator)
        numbers = 1 + (first + torch.arange(self.mc_num) * length // self.mc_num) % length
        ranks = torch.rand(self.mc_num, length, generator=generator).argsort(dim=-1).argsort(dim=-1)
        masked, counts = (ranks < numbers[:, None]).unique(dim=0, return_counts=True)
        weights = counts / self.mc_num * length / masked.sum(dim=-1)
        return torch.cat((masked.new_zeros(len(masked), len(prompt)), masked), dim=-1), weights

    def _is_greedy(self, text: torch.Tensor, start: int) -> bool:
        """Whether decoding writes `text[start:]`; it is given up at the first token that is another."""
        masked = torch.arange(len(text), device=text.device)[None] >= start
        while bool(masked.any()):
            _, tokens, confidence = self._read(text, start, masked, masked)
            place, columns = confidence.argmax(), masked[0].nonzero()[:, 0]
            if bool(tokens[place] != text[columns[place]]):
                return False
            masked[0, columns[place]] = False
        return True

    def _chain(self, prompt: list[int], answer: list[int]) -> tuple[float, bool]:
        """Log-likelihood of an answer by the chain rule, and whether each of its tokens is the most probable one."""
        device, grid = self.model.device, self.model.block_grid(own_block_length(self.model, None))
        length = len(prompt) + len(answer)
        # Blocks are as long as those the model was trained with; what fills up the last is never read.
        columns = torch.arange(-(-length // grid.attended) * grid.attended, device=device)
        text = torch.tensor(prompt + answer + [0] * (len(columns) - length), device=device)
        seen = grid.start(columns)
        total, greedy = 0.0, True
        for targets in columns[len(prompt) : length].split(self.batch_size):
            masked, read = columns >= targets[:, None], columns == targets[:, None]
            found, tokens, _ = self._read(text, len(prompt), masked, read, (seen <= seen[:, None])[None])
            total += float(found.double().sum())
            greedy = greedy and bool((tokens == text[targets]).all())
        return total, greedy

    def _read(
        self,
        text: torch.Tensor,
        start: int,
        masked: torch.Tensor,
        read: torch.Tensor,
        visible: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        Runs a forward pass over copies of a text with masks.

        Args:
            text (`torch.LongTensor` of shape `(length,)`): Prompt and answer.
            start (`int`): Tokens of the prompt.
            masked (`torch.BoolTensor` of shape `(rows, length)`): What is masked in each copy.
            read (`torch.BoolTensor` of shape `(rows, length)`): What is asked for.
            visible (`torch.BoolTensor` of shape `(1, length, length)`, *optional*):
                What queries see; everything if None.

        Returns:
            `tuple[torch.FloatTensor, torch.LongTensor, torch.FloatTensor]`: Each of shape `(asked,)`, row by row: the
            log-probability of the text's token, the most probable token, and its log-probability.
        """
        model, guided = self.model, self.cfg_scale > 0
        mask = SpecialTokens.of(model.generation_config, model.config, text.device).mask
        decoder, head = model.denoising_modules()
        ids = text.expand_as(masked).masked_fill(masked, mask)
        if guided:
            prompt = torch.arange(len(text), device=text.device) < start
            ids = torch.cat((ids, ids.masked_fill(prompt, mask)))
        hidden = decoder(
            input_ids=ids,
            position_ids=torch.arange(len(text), device=text.device).expand_as(ids),
            attention_mask=attention_mask(
                None if visible is None else visible.expand(len(ids), -1, -1), model.config, model.dtype
            ),
            use_cache=False,
        ).last_hidden_state
        found = []
        for rows, columns in zip(*(each.split(CHUNK) for each in read.nonzero(as_tuple=True)), strict=True):
            at = columns - model.logits_shift
            logits = head(hidden[rows, at]).float()
            if guided:
                unconditional = head(hidden[rows + len(masked), at]).float()
                logits = unconditional + (self.cfg_scale + 1) * (logits - unconditional)
            logits[:, mask] = -torch.inf
            scores = logits.log_softmax(dim=-1)
            confidence, tokens = scores.max(dim=-1)
            found.append((scores.gather(-1, text[columns, None])[:, 0], tokens, confidence))
        target, tokens, confidence = (torch.cat(each) for each in zip(*found, strict=True))
        return target, tokens, confidence
