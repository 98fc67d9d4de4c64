# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""The model class `learn2pd` of lm-eval, on that of any transformers model."""

import inspect
import time
from logging import getLogger
from typing import Any

import torch
from lm_eval.api.registry import register_model
from lm_eval.models.huggingface import HFLM
from tqdm.auto import tqdm

from ..checks import LARGEST_SEED, check_integer
from ..configuration import DiffusionGenerationConfig
from ..inherited import is_inherited
from ..options import OPTIONS
from .likelihood import Likelihood

__all__ = ["DiffusionLM"]

# Below lm-eval's own, so that it is shown as theirs are.
logger = getLogger("lm_eval.learn2pd")


@register_model("learn2pd")
class DiffusionLM(HFLM):
    r"""
    Lets lm-eval ask a diffusion LLM: `python -m hf_learn2pd.evaluation --model learn2pd --model_args pretrained=...`.

    Answers are written by `generate`, in batches with left padding. Every stop sequence of a task but end-of-text is
    one of `stop_strings`: nothing is computed behind it that would be cut away afterwards. Likelihoods are those of
    [`Likelihood`]. Each process of `accelerate launch`, on GPUs or CPUs, takes its share of the requests.

    Args:
        pretrained (`str` or [`DiffusionGenerationMixin`]):
            Hub id, path, or a model.
        batch_size (`int`, *optional*, defaults to 1):
            Prompts, or masked copies of an answer, in a forward pass. No result depends on it.
        mc_num (`int`, *optional*, defaults to 128):
            Masks that a likelihood is estimated with.
        seed (`int`, *optional*, defaults to 0):
            Of these masks.
        kwargs:
            Options of [`DiffusionGenerationConfig`], such as `decoding`, `block_cache` or `max_new_tokens`, which go
            before what a task asks for; `cfg_scale` is for likelihoods as well. All others are those of `HFLM`.

    Attributes:
        measured (`dict[str, float]`):
            Of the last call of `generate_until`, over all processes: `requests`; `nfe` and `tokens_per_forward`, means
            over the requests; and `tokens_per_second`. Those that lm-eval repeats to keep processes even are counted.

    Raises:
        ValueError: If an option is unknown or out of range, or the model is no diffusion LLM.
    """

    def __init__(
        self,
        pretrained: Any,
        batch_size: int | str = 1,
        mc_num: int = 128,
        seed: int = 0,
        **kwargs: Any,
    ):
        if not str(batch_size).isdecimal() or int(batch_size) < 1:
            raise ValueError(f"`batch_size` must be an integer above 0 (got {batch_size!r})")
        theirs = inspect.signature(HFLM.__init__).parameters
        names = [name for name in kwargs if name not in theirs and (name in OPTIONS or is_inherited(name))]
        self.options = {name: kwargs.pop(name) for name in names}
        DiffusionGenerationConfig(**self.options)
        check_integer("mc_num", mc_num, 1)
        check_integer("seed", seed, 0, LARGEST_SEED)
        super().__init__(pretrained, batch_size=int(batch_size), **kwargs)
        if not hasattr(self.model, "denoising_modules"):
            raise ValueError(f"`pretrained` must be a diffusion LLM (got a {type(self.model).__name__})")
        if hasattr(self, "accelerator"):
            # `HFLM` does so for several GPUs only.
            self._rank, self._world_size = self.accelerator.process_index, self.accelerator.num_processes
        guidance = self.options.get("cfg_scale") or 0.0
        self.likelihood = Likelihood(self.model, mc_num, int(batch_size), guidance, seed)
        self.measured: dict[str, float] = {}
        self._sums = torch.zeros(5, dtype=torch.float64)

    @property
    def max_gen_toks(self) -> int:
        """Positions of the answer region where neither a model argument nor a task says how many."""
        length = getattr(self.model.generation_config, "max_new_tokens", None)
        return int(length or OPTIONS["max_new_tokens"].default)

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """
        Writes answers, and says what they took.

        Args:
            requests (`list[Instance]`): Prompts, each with the options of its task.
            disable_tqdm (`bool`, *optional*, defaults to `False`): Whether to show no progress bar.

        Returns:
            `list[str]`: The answers, without the stop sequences that ended them.
        """
        self._sums.zero_()
        answers: list[str] = super().generate_until(requests, disable_tqdm=disable_tqdm)
        gathered = self.all_gather(self._sums[None].to(self.device, torch.float32)).double().cpu()
        count, nfe, tokens_per_forward, tokens, _ = gathered.sum(dim=0).tolist()
        self.measured = {
            "requests": count,
            "nfe": nfe / count,
            "tokens_per_forward": tokens_per_forward / count,
            "tokens_per_second": tokens / gathered[:, 4].max().item(),
        }
        if self.rank == 0:
            logger.info(
                "%d requests: NFE %.2f, TPF %.2f, %.1f tokens/s",
                *(self.measured[name] for name in ("requests", "nfe", "tokens_per_forward", "tokens_per_second")),
            )
        return answers

    def _model_generate(self, context: Any, max_length: int, stop: list[str], **kwargs: Any) -> torch.Tensor:
        """Writes a batch of answers; called by `HFLM.generate_until`, which cuts them at the stop sequences."""
        options: dict[str, Any] = kwargs | {"max_new_tokens": max_length - context.shape[1]} | self.options
        if not options.get("temperature"):
            # lm-eval's way to ask for no sampling.
            options.pop("temperature", None)
        # What end-of-text does is for `end_of_text` to say.
        end = self.tok_decode(self.eot_token_id, skip_special_tokens=False)
        if strings := [string for string in stop if string not in ("", end)]:
            options |= {"stop_strings": strings, "tokenizer": self.tokenizer}
        # `HFLM` has left room for what the task asks for.
        room = max(self.max_length - options["max_new_tokens"], 1)
        prompts, options["attention_mask"] = context[:, -room:], options["attention_mask"][:, -room:]
        began = time.perf_counter()
        output = self.model.generate(prompts, return_dict_in_generate=True, **options)
        tokens = (output.tokens_per_forward * output.nfe).round().long()
        sums = [each.sum().item() for each in (output.nfe, output.tokens_per_forward, tokens)]
        self._sums += torch.tensor([len(tokens), *sums, time.perf_counter() - began], dtype=torch.float64)
        # Without a stop there is text behind the end.
        answers = output.sequences[:, prompts.shape[1] :]
        behind = torch.arange(answers.shape[1], device=answers.device) >= tokens[:, None]
        return torch.cat((context, answers.masked_fill(behind, self.tokenizer.pad_token_id)), dim=-1)

    def _loglikelihood_tokens(
        self, requests: Any, disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        """Scores answers; called by `loglikelihood` and, with windows of a text, by `loglikelihood_rolling`."""
        answers = []
        for text, context, continuation in tqdm(
            requests, desc="Running loglikelihood requests", disable=disable_tqdm or self.rank != 0
        ):
            room = self.max_length - len(continuation)
            if room < 1:
                raise ValueError(
                    f"`continuation` must be shorter than the model's {self.max_length} positions "
                    f"(got {len(continuation)} tokens)"
                )
            # A window is no answer that could be written.
            answer = self.likelihood(context[-room:], continuation, check_greedy=text is not None)
            answers.append(answer)
            if text is not None:
                self.cache_hook.add_partial("loglikelihood", text, answer)
        return answers

    def get_model_info(self) -> dict[str, Any]:
        """What lm-eval writes beside the scores: that of `HFLM`, the options, and what the answers took."""
        info: dict[str, Any] = super().get_model_info()
        return info | {"options": self.options} | self.measured
