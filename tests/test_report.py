# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""What `output_history` records, and the reports that are made of it."""

import io
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from conftest import EOT as SCRIPTED_EOT
from conftest import STRATEGIES, ScriptedModel
from rich.console import Console
from test_properties import generate

from hf_learn2pd import SlidingBlocks, Threshold
from hf_learn2pd.report import Texts

PROMPTS = [[5, 6], [7, 8, 9], [9]]
OPTIONS = {"max_new_tokens": 20, "block_length": 8, "end_of_text": "accepted", "eos_token_id": 407}
WAYS = [
    {},
    {"decoding": Threshold(0.004), "block_cache": "dual"},
    {"decoding": Threshold(0.004), "block_cache": "local", "suffix_length": 3},
    {"decoding": "pearl"},
    {"decoding": Threshold(0.004), "end_of_text": "cut"},
    {"decoding": Threshold(0.004), "block_schedule": SlidingBlocks(8), "block_cache": "sliding"},
]


class Nasty:
    """A tokenizer whose tokens are what could break out of a page or of a terminal."""

    texts = ("</script><script>alert(1)</script>", "\"&'<b>", "\x00\x1b[31m\x9b", "[red]\u202e", "a\n", "\ud800")

    def decode(self, ids):
        return "".join(self.texts[each % len(self.texts)] for each in ids)


class Page(HTMLParser):
    """Elements with attributes, and the text in each."""

    def __init__(self, page):
        super().__init__()
        self.found, self.open, self.closed = [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes), []))
        if tag not in ("meta", "input"):
            self.open.append(self.found[-1])

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        if self.open:
            self.open[-1][2].append(data)

    def of(self, name):
        return [
            (attributes, "".join(text))
            for _, attributes, text in self.found
            if name in attributes.get("class", "").split()
        ]


def report(options, tokenizer=None):
    width, output = generate(PROMPTS, output_history=True, **OPTIONS | options)
    return width, output, Page(output.report(tokenizer))


@pytest.mark.parametrize("options", WAYS)
def test_recording_changes_nothing(options):
    (_, plain), (_, output) = generate(PROMPTS, **OPTIONS | options), report(options)[:2]
    assert plain.history is None and len(output.history.steps) == len(plain.forward_passes)
    assert plain.forward_passes == output.forward_passes
    for name in ("sequences", "nfe", "unmasking_steps"):
        assert getattr(plain, name).equal(getattr(output, name))


@pytest.mark.parametrize("options", WAYS)
def test_every_token_is_on_the_page_with_the_step_in_which_it_became_final(options):
    width, output, page = report(options)
    ends = (output.unmasking_steps >= 0).sum(dim=-1).tolist()
    tokens = iter(page.of("token"))
    for row, end in enumerate(ends):
        found = output.history.row(row)
        # Passes of the row, in the order of the batch's.
        passes = [step for step, *_ in found.predictions]
        assert len(passes) == output.nfe[row] and passes == sorted(passes)
        for position in range(end):
            attributes, text = next(tokens)
            assert text == f"{output.sequences[row, width + position]} "
            step = passes[output.unmasking_steps[row, position]]
            assert attributes["title"].startswith(f"position {position}, final in step {step + 1}")
            assert float(attributes["style"].removeprefix("--t:")) == round(step / (len(output.forward_passes) - 1), 3)
    assert next(tokens, None) is None
    assert not page.open and max(output.nfe.tolist()) > 1


def test_confidence_blocks_and_what_lies_behind_the_end_are_those_of_the_script():
    confidence = [0.9, 0.8, 0.95, 0.7, 0.6, 0.5]
    model = ScriptedModel([5, 6, 7, SCRIPTED_EOT, 5, 5], confidence)
    output = model.run(block_length=2, output_history=True, decoding=Threshold(0.85))
    page = Page(output.report())
    # 5 and 6 in two steps, then the third and the end together would take 0.85 each: two steps again.
    titles = [attributes["title"] for attributes, _ in page.of("token")]
    expected = zip([1, 2, 3, 4], confidence, strict=False)
    assert titles == [
        f"position {place}, final in step {step}, confidence {sure:.3f}" for place, (step, sure) in enumerate(expected)
    ]
    assert ["start" in attributes["class"] for attributes, _ in page.of("token")] == [True, False, True, False]
    # All six positions are computed in each of the four passes, with two of the prompt.
    assert [attributes["title"] for attributes, _ in page.of("behind") if "title" in attributes] == [
        f"position {place}, behind the end, computed in 4 passes" for place in (4, 5)
    ]
    found = output.history.row(0)
    assert (found.inside, found.behind) == (24, 8)
    assert "4 tokens in 4 forward passes, 1.00 tokens per forward; 32 positions computed, 8 of them (25%)" in "".join(
        text for _, _, texts in page.found for text in texts
    )


def test_the_page_needs_nothing_else_and_holds_what_the_slider_shows():
    width, output, page = report({"decoding": Threshold(0.004), "block_cache": "dual"})
    for tag, attributes, _ in page.found:
        assert tag not in ("link", "img", "iframe") and not {"src", "href"} & set(attributes)
    text = output.report()
    assert "http:" not in text and "https:" not in text and "prefers-color-scheme: dark" in text
    slider = next(attributes for tag, attributes, _ in page.found if tag == "input")
    assert slider["max"] == slider["value"] == str(len(output.forward_passes))
    data = json.loads(next("".join(text) for _, attributes, text in page.found if attributes.get("id") == "data"))
    assert [tuple(each) for each in data["passes"]] == output.forward_passes
    for row, recorded in enumerate(data["rows"]):
        for step, start, end, tokens, confidence in recorded["predictions"]:
            assert len(tokens) == len(confidence) == end - start
            # What becomes final in a step is what it has predicted.
            for position in range(start, min(end, len(recorded["final"]))):
                if recorded["final"][position] == step:
                    assert tokens[position - start] == output.sequences[row, width + position]
            assert all(str(token) in data["texts"] for token in tokens)


def test_hostile_texts_stay_texts():
    _, output, page = report({}, Nasty())
    assert [tag for tag, *_ in page.found].count("script") == 2
    assert not any(tag in ("b", "red") for tag, *_ in page.found) and not page.open
    raw = output.report(Nasty())
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ud800]", raw)
    raw.encode()
    shown = {text for _, text in page.of("token")}
    assert shown <= {
        "</script><script>alert(1)</script>",
        "\"&'<b>",
        "\\u0000\\u001b[31m\\u009b",
        "[red]\\u202e",
        "a↵\n",
        "\\ud800",
    }
    assert len(shown) > 2


def test_tokens_keep_their_spaces():
    class Words:
        """Leaves out the space at the beginning of a text, as many tokenizers do."""

        def decode(self, ids):
            return " ".join(["", "key", "is"][each] for each in ids)

    assert Texts(Words()).join([1, 2, 1]) == " key is key"


def test_the_terminal_shows_the_same():
    _, output, page = report({"block_cache": "dual"}, Nasty())
    console = Console(file=io.StringIO(), force_terminal=True, color_system="truecolor", width=4000)
    output.print_report(Nasty(), console)
    printed = console.file.getvalue()
    # Nothing but colours, and none of those that a token asks for.
    assert "\x1b[31m\\u009b" not in printed and not re.search("[\x00-\x09\x0b-\x1a\x1c-\x1f\x7f-\x9f\ud800]", printed)
    plain = re.sub("\x1b\\[[0-9;]*m", "", printed)
    for _, text in page.of("token"):
        assert text.split("\n")[0] in plain
    assert "48;2;253;233;169" in printed and "48;2;90;169;230" in printed
    for row in range(3):
        assert f"Row {row + 1}: " in plain
    assert "dual" in plain and "full" in plain


def test_reports_say_what_they_miss(monkeypatch):
    _, output = generate(PROMPTS, **OPTIONS)
    for report_of in (output.report, output.print_report):
        with pytest.raises(ValueError, match="`output_history` must be True in the call of `generate`"):
            report_of()
    with pytest.raises(ValueError, match="`output_history` must be a bool"):
        generate(PROMPTS, output_history="yes", **OPTIONS)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    _, output = generate(PROMPTS, output_history=True, **OPTIONS)
    with pytest.raises(ImportError, match=r"`rich` must be installed .*hf_learn2pd\[report\]"):
        output.print_report()


@pytest.mark.parametrize(
    "strategy", {type(each): each for each in STRATEGIES}.values(), ids=lambda each: type(each).__name__
)
def test_every_strategy_has_a_report(strategy):
    _, output = generate([[5, 6]], output_history=True, decoding=strategy, max_new_tokens=8, block_length=4)
    assert len(Page(output.report()).of("token")) == int((output.unmasking_steps >= 0).sum())


@pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no chromium")
def test_a_browser_runs_the_page(tmp_path):
    _, output = generate(PROMPTS, output_history=True, **OPTIONS)
    # What the slider does is done once the page is loaded, and the text before it is written by the script alone.
    move = "<script>slider.value = 1; slider.dispatchEvent(new Event('input'));</script>"
    (tmp_path / "page.html").write_text(output.report().replace("</body>", move + "</body>"))
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", f"file://{tmp_path}/page.html"]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    page = Page(dom)
    assert f"step 1 of {len(output.forward_passes)}: full, 3 rows" in dom
    first = sum(step == 0 for row in output.history.unmasking_steps for step in row)
    shown = [text for attributes, text in page.of("token") if not {"open", "masked"} & set(attributes["class"].split())]
    assert len(shown) == first and "▒" in {text for _, text in page.of("masked")}
