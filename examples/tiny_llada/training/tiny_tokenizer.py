# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""The small checkpoint's tokenizer: a closed vocabulary, one token per word, sign or digit."""

from task_words import vocabulary
from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

__all__ = ["CHAT_TEMPLATE", "build_tokenizer"]

BEGIN, END, MASK, UNKNOWN = "<|startoftext|>", "<|endoftext|>", "<|mdm_mask|>", "<unk>"
HEADER_TOKENS = ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first %}{{ bos_token }}{% endif %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}"
    "{{ message['content'] | trim + '<|eot_id|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """
    Builds the tokenizer from the tasks' vocabulary.

    A word is the same token whatever stands before it, and white space is not a token: decoding puts one space between
    words, none before a sign and none between the digits of a number.

    Returns:
        [`~transformers.PreTrainedTokenizerFast`]: A tokenizer that `AutoTokenizer` loads without remote code.
    """
    words = [END, BEGIN, MASK, UNKNOWN, *HEADER_TOKENS, *vocabulary()]
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Punctuation(),
            pre_tokenizers.Digits(individual_digits=True),
        ]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.WordPiece(prefix="##", cleanup=False),
            decoders.Fuse(),
            decoders.Replace(Regex(r" (?=[.,:?])"), ""),
            decoders.Replace(Regex(r"(?<=[0-9]) (?=[0-9])"), ""),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=END,
        mask_token=MASK,
        unk_token=UNKNOWN,
        additional_special_tokens=HEADER_TOKENS,
        chat_template=CHAT_TEMPLATE,
        model_max_length=1024,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        # The model takes no segment ids.
        model_input_names=["input_ids", "attention_mask"],
    )
