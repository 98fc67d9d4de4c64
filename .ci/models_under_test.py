"""What `.ci/model_tests` runs: small models, and every test of transformers that does not apply, with the reason."""

import unittest
from typing import Any
from unittest.mock import patch

import torch
from tests.test_modeling_common import ModelTesterMixin, ids_tensor, random_attention_mask
from tests.test_training_mixin import TrainingTesterMixin
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, MODEL_MAPPING_NAMES

from hf_learn2pd.models import (
    DreamConfig,
    DreamForMaskedDiffusion,
    DreamModel,
    LladaConfig,
    LladaForMaskedDiffusion,
    LladaModel,
    LladaMoeConfig,
    LladaMoeForMaskedDiffusion,
    LladaMoeModel,
)

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
        self.base_model_class = parent.all_model_classes[0]
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
    # The training test then generates what it has learned. From one token, it has to be learned from positions alone.
    training_overfit_steps = 400
    training_overfit_batch_size = 64
    training_overfit_seq_length = 32
    training_overfit_learning_rate = 3e-3

    def setUp(self) -> None:
        self.model_tester = Tester(self)

    @unittest.skip(
        "Generation token by token is what these tests are for; this package has tests of its own `generate`"
    )
    def test_generation_tester_mixin_inheritance(self) -> None:
        pass

    def _create_text_training_batch(self, batch_size: int, seq_length: int, vocab_size: int) -> dict[str, torch.Tensor]:
        # Masked diffusion learns from masked inputs: the first token is the prompt; of what follows, a row has more or
        # less masked and all of what is behind, as in the middle of denoising. The first row has nothing masked and so
        # no loss: it is the text that the model then has to generate.
        batch = super()._create_text_training_batch(batch_size, seq_length, vocab_size)
        share = torch.linspace(0, 1, batch_size - 1)[:, None]
        masked = torch.zeros(batch_size, seq_length, dtype=torch.bool)
        masked[1:] = torch.rand(batch_size - 1, seq_length) < share
        masked[1:] |= torch.arange(seq_length) >= seq_length * (1 - share / 2)
        masked[:, 0] = False
        batch["input_ids"] = batch["input_ids"].masked_fill(masked, MASK)
        batch["labels"] = batch["labels"].masked_fill(~masked, -100)
        return batch


# Its tests ask these lists, by the names of classes, which have a loss and which have none.
for config_class, headless, with_head in (
    (LladaConfig, LladaModel, LladaForMaskedDiffusion),
    (DreamConfig, DreamModel, DreamForMaskedDiffusion),
    (LladaMoeConfig, LladaMoeModel, LladaMoeForMaskedDiffusion),
):
    MODEL_MAPPING_NAMES[config_class.model_type] = headless.__name__
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[config_class.model_type] = with_head.__name__


class LladaTest(ModelTest, unittest.TestCase):
    config_class, sizes = LladaConfig, SIZES
    all_model_classes = (LladaModel, LladaForMaskedDiffusion)

    def test_reverse_loading_mapping(self, *args: Any, **kwargs: Any) -> None:
        # The head's name is among those mapped, which the headless model has not. And the test sets fields of
        # mixtures of experts on every model's config, which that of LLaDA refuses.
        with patch("hf_learn2pd.models.llada._FOREIGN", ()):
            super().test_reverse_loading_mapping(*args, skip_base_model=True, **kwargs)


class DreamTest(ModelTest, unittest.TestCase):
    config_class, sizes = DreamConfig, SIZES
    all_model_classes = (DreamModel, DreamForMaskedDiffusion)

    @unittest.skip("The configuration refuses `use_sliding_window`: a window would hide the end of a canvas")
    def test_sliding_window_mask(self) -> None:
        pass


class LladaMoeTest(ModelTest, unittest.TestCase):
    config_class, sizes = LladaMoeConfig, SIZES | EXPERTS
    all_model_classes = (LladaMoeModel, LladaMoeForMaskedDiffusion)
    # A router leaves most experts out for any one batch, as in Qwen3-MoE's own tests.
    test_all_params_have_gradient = False

    @unittest.skip("The configuration refuses `use_sliding_window`: a window would hide the end of a canvas")
    def test_sliding_window_mask(self) -> None:
        pass


# These are for pytest to find only where they are complete.
del ModelTesterMixin, TrainingTesterMixin
