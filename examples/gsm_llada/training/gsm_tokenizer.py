# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""The tokenizer of the GSM-Symbolic checkpoint: a closed vocabulary, one token per word, digit, sign or newline."""

from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

__all__ = ["CHAT_TEMPLATE", "build_tokenizer", "vocabulary"]

BEGIN, END, MASK, UNKNOWN = "<|startoftext|>", "<|endoftext|>", "<|mdm_mask|>", "<unk>"
HEADER_TOKENS = ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]

# White space that is a token of its own, longest first.
NEWLINES = {"\n   • ": "⏎•", "\n   - ": "⏎-", "\n\n": "⏎⏎", "\n": "⏎"}
# A sign of calculation with a space on either side is another token than the bare sign.
SPACED_SIGNS = ["=", "+", "-", "*", "/", "×", "÷"]
# Between these neighbours (what stands on the left, what on the right) a text has no space.
TIGHT = [
    (r"[0-9]", r"[0-9]"),
    (r"[0-9][.,]", r"[0-9]"),
    (r"[$£€('=+\-*/×÷]", r""),
    (r"", r"[.,:;?!%)'=+\-*/×÷]"),
]
# A space between tight neighbours, and no space between others, are spelled out.
SPACE, GLUE = "␣", "⁀"
NO_PREFIX = "\0"

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first %}{{ bos_token }}{% endif %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}"
    "{{ message['content'] | trim + '<|eot_id|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)


def vocabulary() -> list[str]:
    """
    Lists what the model can write.

    Returns:
        `list[str]`: White space and signs of calculation, then the words, digits and signs of `vocabulary.txt`.
    """
    spaced = [f"▁{sign}▁" for sign in SPACED_SIGNS]
    words = Path(__file__).with_name("vocabulary.txt").read_text(encoding="utf-8").split()
    return [*NEWLINES.values(), SPACE, GLUE, *spaced, *words]


def _tight(between: str) -> str:
    return "(?:" + "|".join(f"(?<={left}){between}(?={right})" for left, right in TIGHT) + ")"


def _normalizer() -> normalizers.Normalizer:
    inside = r"[^\s▁⏎]"
    loose = rf"(?<={inside})(?={inside})(?!(?<=[A-Za-z])(?=[A-Za-z]))(?!(?<=#)(?=#))(?!{_tight('')})"
    return normalizers.Sequence(
        [
            *[normalizers.Replace(text, f" {token} ") for text, token in NEWLINES.items()],
            *[normalizers.Replace(f" {sign} ", f" ▁{sign}▁ ") for sign in SPACED_SIGNS],
            normalizers.Replace(Regex(rf"(?<={inside})(?:{_tight(' ')})(?={inside})"), f" {SPACE} "),
            normalizers.Replace(Regex(loose), f" {GLUE} "),
        ]
    )


def _decoder() -> decoders.Decoder:
    return decoders.Sequence(
        [
            # One space between any two tokens ...
            decoders.WordPiece(prefix=NO_PREFIX, cleanup=False),
            decoders.Fuse(),
            # ... of which those go that no text has: a point stands close to its left before its right is looked at.
            decoders.Replace(Regex(_tight(" ")), ""),
            decoders.Replace(Regex(_tight(" ")), ""),
            decoders.Replace(Regex(f" ?{GLUE} ?"), ""),
            decoders.Replace(Regex(f" ?{SPACE} ?"), " "),
            decoders.Replace(Regex(" ?▁ ?"), " "),
            *[decoders.Replace(Regex(f" ?{token} ?"), text) for text, token in NEWLINES.items()],
        ]
    )


def build_tokenizer() -> PreTrainedTokenizerFast:
    """
    Builds the tokenizer.

    A word is the same token whatever stands before it. The text comes back as it was, apart from runs of spaces and
    words that the vocabulary lacks.

    Returns:
        [`~transformers.PreTrainedTokenizerFast`]: A tokenizer that `AutoTokenizer` loads without remote code.
    """
    words = [END, BEGIN, MASK, UNKNOWN, *HEADER_TOKENS, *vocabulary()]
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, unk_token=UNKNOWN))
    tokenizer.normalizer = _normalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Split(Regex(r"[A-Za-z]+|####|▁.▁|⏎[⏎•-]?|."), "isolated"),
        ]
    )
    tokenizer.decoder = _decoder()
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
