# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""The command `hf-learn2pd`: what it prints, refuses, and shows while an answer is being denoised."""

import io
import re
from pathlib import Path

import pytest
import torch
import transformers
from conftest import EXAMPLES, inputs_of
from tasks import task_sample

import hf_learn2pd
from hf_learn2pd.commands import main
from hf_learn2pd.commands.answer import read_value
from hf_learn2pd.commands.chat import Conversation
from hf_learn2pd.commands.drafts import DraftStreamer

CHECKPOINT = str(EXAMPLES / "tiny_llada")
QUESTION = task_sample(7, 1, "test").prompt

console = pytest.importorskip("rich.console", reason="the chat shows its drafts with rich")


@pytest.fixture(scope="module")
def expected(model, tokenizer):
    """The answer to the question, and its number of passes."""
    return answer_of(model, tokenizer)


def answer_of(model, tokenizer, **options):
    inputs = inputs_of(tokenizer, [QUESTION])
    output = model.generate(**inputs, return_dict_in_generate=True, **options)
    answer = output.sequences[0, inputs["input_ids"].shape[1] :]
    return tokenizer.decode(answer, skip_special_tokens=True), int(output.nfe)


def terminal(file=None):
    file = io.StringIO() if file is None else file
    return console.Console(file=file, force_terminal=True, color_system=None, width=20, height=6)


class Keys(io.StringIO):
    """What is typed: lines, and None for Ctrl-C."""

    def __init__(self, *lines):
        super().__init__()
        self.lines = list(lines)

    def readline(self, *_):
        if not self.lines:
            return ""
        line = self.lines.pop(0)
        if line is None:
            raise KeyboardInterrupt
        return f"{line}\n"


def test_info_names_versions_and_all_there_is(capsys):
    main(["info"])
    printed = capsys.readouterr().out
    for version in (torch.__version__, transformers.__version__, hf_learn2pd.__version__):
        assert version in printed
    for name in (*hf_learn2pd.UNMASKING_STRATEGIES, "llada2_moe", "LladaForMaskedDiffusion", "local", "cpu"):
        assert name in printed


def test_decode_prints_what_generate_writes_and_its_passes(model, tokenizer, tmp_path, capsys):
    decoding = {"name": "threshold", "threshold": 0.5}
    text, nfe = answer_of(model, tokenizer, decoding=decoding, max_new_tokens=64, block_cache="local")
    options = ["--decoding", str(decoding), "--max-new-tokens", "64", "--block-cache", "local", "--device", "cpu"]
    page = tmp_path / "page.html"
    main(["decode", CHECKPOINT, "--prompt", QUESTION, *options, "--report", str(page)])
    assert page.read_text().count("<section>") == 1 and f"in {nfe} forward passes" in page.read_text()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == text and f"NFE {nfe}, " in lines[-1] and "tokens a pass" in lines[-1]


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--decoding", "fastest", "`decoding` must be one of"),
        ("--max-new-tokens", "0", "`max_new_tokens` must be an integer above 0 (got 0)"),
        ("--verify", "yes", "`verify` must be a bool (got 'yes')"),
    ],
)
def test_a_wrong_option_is_named_before_a_model_is_looked_for(option, value, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["decode", "no/model", "--prompt", "x", option, value])
    assert stopped.value.code == 1 and message in capsys.readouterr().err


def test_a_model_of_another_family_is_refused_before_its_weights_are_read(tmp_path, capsys):
    transformers.BertConfig().save_pretrained(tmp_path)
    for command in (["decode", "--prompt", "x"], ["chat"]):
        with pytest.raises(SystemExit):
            main([*command, str(tmp_path)])
        assert "`model` must be of a family among" in capsys.readouterr().err


def test_values_are_literals_or_else_strings():
    texts = ["0.9", "1e-3", "None", "True", "[1, 2]", '{"name": "adablock"}', "learn2pd", "a/b:c", "a b"]
    values = [0.9, 1e-3, None, True, [1, 2], {"name": "adablock"}, "learn2pd", "a/b:c", "a b"]
    assert [read_value(text) for text in texts] == values


def test_importing_the_package_imports_no_command():
    assert "commands" not in Path(hf_learn2pd.__file__).read_text()


def test_a_chat_answers_changes_its_method_and_ends(model, tokenizer, expected, monkeypatch, capsys):
    typed = Keys(
        QUESTION, "/decoding nonsense", "/decoding threshold", "/clear", QUESTION, None, "/help", "/exit", "no"
    )
    monkeypatch.setattr("sys.stdin", typed)
    main(["chat", CHECKPOINT, "--device", "cpu"])
    printed = capsys.readouterr().out
    assert typed.lines == ["no"]
    text, nfe = answer_of(model, tokenizer, decoding="threshold")
    assert nfe != expected[1]
    # The second answer knows nothing of the first.
    assert printed.index(f"{expected[0]}\nNFE {expected[1]}, ") < printed.index(f"{text}\nNFE {nfe}, ")
    assert "`decoding` must be one of" in printed and "Ctrl-C again" in printed and printed.count("/clear") == 2
    # No terminal: no drafts.
    assert "░" not in printed and "\x1b" not in printed


def test_ctrl_c_twice_at_the_prompt_ends_the_chat(monkeypatch, capsys):
    typed = Keys(None, "/help", None, None, "no")
    monkeypatch.setattr("sys.stdin", typed)
    main(["chat", CHECKPOINT, "--device", "cpu"])
    assert typed.lines == ["no"]


def test_ctrl_c_ends_the_answer_but_not_the_conversation(model, tokenizer, expected):
    class Interrupted(io.StringIO):
        def __init__(self, picture):
            super().__init__()
            self.left = picture

        def write(self, text):
            # Whenever the picture of a terminal changes: at a draft, or when a block has been written.
            self.left -= "░" in text
            if self.left == 0:
                self.left -= 1
                raise KeyboardInterrupt
            return super().write(text)

    partials = []
    for picture in range(2, 6):
        file = Interrupted(picture)
        conversation = Conversation(model, tokenizer, {"block_length": 4}, terminal(file))
        conversation.ask(QUESTION)
        assert "interrupted" in file.getvalue()
        partials.append(conversation.messages[-1]["content"])
    assert all(expected[0].startswith(partial) and partial != expected[0] for partial in partials) and any(partials)
    conversation.command("/clear")
    conversation.ask(QUESTION)
    assert conversation.messages[-1]["content"] == expected[0]


def test_an_answer_that_cannot_be_written_leaves_the_conversation_as_it_was(model, tokenizer):
    output = terminal()
    conversation = Conversation(model, tokenizer, {"decoding": "oracle"}, output)
    conversation.ask(QUESTION)
    assert conversation.messages == [] and "`reference_ids`" in output.file.getvalue()


def test_options_at_odds_are_refused_before_the_first_question(model, tokenizer):
    with pytest.raises(ValueError, match="`refresh_every` must be None without"):
        Conversation(model, tokenizer, {"refresh_every": 2}, terminal())


def last_picture(file):
    """What a terminal shows after the last clearing of its lines."""
    last = file.getvalue().rsplit("\x1b[2K", 1)[-1]
    return re.sub(r"\x1b\[[?\d;]*[A-Za-z]|\r", "", last).splitlines()


def test_a_draft_is_shown_in_place_with_its_masks(tokenizer):
    output = terminal()
    mask, eos = tokenizer.mask_token_id, tokenizer.eos_token_id
    ids = tokenizer("so the answer is cow", add_special_tokens=False)["input_ids"]
    streamer = DraftStreamer(tokenizer, mask, {eos}, 40, output)
    streamer.put(torch.tensor([[1, 3]]))
    assert last_picture(output.file) == ["░" * 20] * 2
    streamer.put(torch.tensor(ids[:2]))
    streamer.put_draft(torch.tensor([[*ids[2:4], mask, mask]]))
    written = tokenizer.decode(ids[:4])
    picture = last_picture(output.file)
    assert "".join(picture) == written + "░" * 36 and all(len(line) <= 20 for line in picture)
    # Behind an end of text there is nothing.
    streamer.put_draft(torch.tensor([[*ids[2:], eos, mask, eos]]))
    assert "".join(last_picture(output.file)).replace(" ", "") == "sotheansweriscow"
    assert streamer.text == tokenizer.decode(ids[:2])
    streamer.end()
    assert last_picture(output.file) == []


def test_of_a_long_answer_the_end_is_shown(tokenizer):
    output = terminal()
    words = tokenizer(" ".join(["fig"] * 60 + ["cow"]), add_special_tokens=False)["input_ids"]
    streamer = DraftStreamer(tokenizer, tokenizer.mask_token_id, {tokenizer.eos_token_id}, 512, output)
    streamer.put(torch.tensor([[1]]))
    streamer.put(torch.tensor(words))
    picture = last_picture(output.file)
    assert len(picture) == 5 and picture[-1].endswith("cow")
    streamer.end()
