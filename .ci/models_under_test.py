"""What `.ci/model_tests` runs: small models, and every test of transformers that does not apply, with the reason."""

import inspect
import unittest
from typing import Any

import torch
from tests.test_modeling_common import ModelTesterMixin, ids_tensor, random_attention_mask
from tests.test_training_mixin import TrainingTesterMixin

import hf_learn2pd
from hf_learn2pd import DreamConfig, DreamForMaskedDiffusion, LladaConfig, LladaForMaskedDiffusion
from hf_learn2pd.models import LladaMoeConfig, LladaMoeForMaskedDiffusion

VOCABULARY, MASK, SEQUENCE = 99, 98, 7
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "eos_token_id": 0,
    "mask_token_id": MASK,
}
EXPERTS = {"moe_intermediate_size": 16, "num_experts": 8, "num_experts_per_tok": 2}


class Tester:
    """What transformers' tests ask a model's own tests for."""

    is_training = True
    batch_size, seq_length = 13, SEQUENCE
    num_hidden_layers, num_attention_heads, hidden_size, vocab_size = 2, 4, 32, VOCABULARY

    def __init__(self, parent: "ModelTest"):
        self.parent = parent
        self.causal_lm_class = parent.all_model_classes[-1]

    def get_config(self) -> Any:
        return self.parent.config_class(**self.parent.sizes)

    def prepare_config_and_inputs_for_common(self) -> tuple[Any, dict[str, torch.Tensor]]:
        input_ids = ids_tensor([self.batch_size, self.seq_length], VOCABULARY - 1)
        # A left-padded row and the whole of the others.
        return self.get_config(), {"input_ids": input_ids, "attention_mask": random_attention_mask(input_ids.shape)}


class ModelTest(ModelTesterMixin, TrainingTesterMixin):
    config_class: Any
    sizes: dict[str, Any]
    model_tester: Any = None
    test_torch_exportable = False
    # The training test then generates, one step per token, what it has learned.
    training_overfit_steps = 300

    def setUp(self) -> None:
        self.model_tester = Tester(self)

    def _prepare_for_class(self, inputs: Any, model_class: Any, return_labels: bool = False) -> Any:
        # transformers looks in its own list of classes to see which take labels.
        inputs = super()._prepare_for_class(inputs, model_class, return_labels=return_labels)
        if return_labels and "labels" in inspect.signature(model_class.forward).parameters:
            inputs["labels"] = torch.zeros((self.model_tester.batch_size, SEQUENCE), dtype=torch.long)
        return inputs

    def _create_text_training_batch(self, batch_size: int, seq_length: int, vocab_size: int) -> dict[str, torch.Tensor]:
        # Masked diffusion learns from masked inputs: here the first token is the prompt, and of what follows the rows
        # have all, half, ... masked.
        batch = super()._create_text_training_batch(batch_size, seq_length, vocab_size)
        masked = torch.zeros_like(batch["labels"], dtype=torch.bool)
        for row in range(batch_size):
            masked[row, 1 :: row + 1] = True
        batch["input_ids"] = batch["input_ids"].masked_fill(masked, MASK)
        batch["labels"] = batch["labels"].masked_fill(~masked, -100)
        return batch


def classes(family: str, with_head: Any) -> tuple[Any, ...]:
    headless = getattr(hf_learn2pd, f"{family}Model", None) or getattr(hf_learn2pd.models, f"{family}Model", None)
    return (with_head,) if headless is None else (headless, with_head)


class LladaTest(ModelTest, unittest.TestCase):
    config_class, sizes = LladaConfig, SIZES
    all_model_classes = classes("Llada", LladaForMaskedDiffusion)


class DreamTest(ModelTest, unittest.TestCase):
    config_class, sizes = DreamConfig, SIZES
    all_model_classes = classes("Dream", DreamForMaskedDiffusion)


class LladaMoeTest(ModelTest, unittest.TestCase):
    config_class, sizes = LladaMoeConfig, SIZES | EXPERTS
    all_model_classes = classes("LladaMoe", LladaMoeForMaskedDiffusion)
    # A router leaves most experts out for any one batch, as in Qwen3-MoE's own tests.
    test_all_params_have_gradient = False


# These are for pytest to find only where they are complete.
del ModelTesterMixin, TrainingTesterMixin
