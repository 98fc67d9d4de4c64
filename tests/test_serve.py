# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""The server of transformers answers OpenAI clients with what `generate` writes."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tasks import task_sample
from transformers import AutoModelForCausalLM, AutoTokenizer

ROOT = Path(__file__).parents[1]
CHECKPOINT = str(ROOT / "examples" / "tiny_llada")

for name in ("fastapi", "uvicorn"):
    pytest.importorskip(name, reason='the server needs pip install "hf_learn2pd[serve]"')
openai = pytest.importorskip("openai", reason='the client needs pip install "hf_learn2pd[serve]"')

QUESTIONS = [task_sample(7, index, "test").prompt for index in range(4)]
# Seconds; a server imports torch and transformers before it listens.
START, ANSWER = 600.0, 300.0


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """A client of a server in a process of its own, which is asked to end as a user does, by Ctrl-C."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "hf_learn2pd", "serve", CHECKPOINT, "--host", "127.0.0.1", "--port", str(port)]
    log = tmp_path_factory.mktemp("serve") / "log"
    path = os.pathsep.join([str(ROOT), *sys.path])
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with log.open("w") as file:
        server = subprocess.Popen([*command, "--device", "cpu"], stdout=file, stderr=file, env=environment)
    try:
        until = time.monotonic() + START
        while not listens(port):
            assert server.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.1)
        with openai.OpenAI(
            base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0, timeout=ANSWER
        ) as client:
            yield client
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=ANSWER) == 0 and not listens(port), log.read_text()
    finally:
        server.kill()
        server.wait()


def listens(port):
    with socket.socket() as each:
        return each.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def answers():
    """What `generate` writes in this process, by the options of a call."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(CHECKPOINT), AutoTokenizer.from_pretrained(CHECKPOINT)

    def answer(question, chat=True, **options):
        messages = [{"role": "user", "content": question}]
        inputs = (
            tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
            if chat
            else tokenizer(question, return_tensors="pt")
        )
        output = model.generate(**inputs, **options)[0, inputs["input_ids"].shape[1] :]
        return tokenizer.decode(output, skip_special_tokens=True), len(output)

    return answer


def ask(client, question, stream=False, **options):
    messages = [{"role": "user", "content": question}]
    config = {"extra_body": {"generation_config": json.dumps(options)}}
    reply = client.chat.completions.create(model=CHECKPOINT, messages=messages, stream=stream, **config)
    if not stream:
        return reply.choices[0].message.content, reply.usage.completion_tokens
    chunks = list(reply)
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks), chunks[-1].usage.completion_tokens


def test_a_chat_is_answered_as_by_generate(client, answers):
    assert ask(client, QUESTIONS[0], max_new_tokens=128) == answers(QUESTIONS[0], max_new_tokens=128)


def test_a_request_says_how_it_is_decoded(client, answers):
    # Greedy methods that end in other texts than the checkpoint's own.
    options = {"decoding": "checkerboard", "end_of_text": None, "max_new_tokens": 32, "block_length": 8}
    expected = answers(QUESTIONS[1], **options)
    assert expected != answers(QUESTIONS[1], max_new_tokens=32)
    assert ask(client, QUESTIONS[1], **options) == expected


def test_a_streamed_answer_is_the_same_and_comes_in_parts(client, answers):
    expected = answers(QUESTIONS[0], max_new_tokens=128)
    assert ask(client, QUESTIONS[0], stream=True, max_new_tokens=128) == expected


def test_a_completion_takes_the_prompt_as_it_is(client, answers):
    text, tokens = answers(QUESTIONS[2], chat=False, max_new_tokens=64)
    reply = client.completions.create(model=CHECKPOINT, prompt=QUESTIONS[2], max_tokens=64)
    assert (reply.choices[0].text, reply.usage.completion_tokens) == (text, tokens)
    parts = client.completions.create(model=CHECKPOINT, prompt=QUESTIONS[2], max_tokens=64, stream=True)
    assert "".join(part.choices[0].text for part in parts) == text


def test_four_requests_at_once_are_answered_each_as_by_itself(client, answers):
    with ThreadPoolExecutor(4) as pool:
        replies = [
            pool.submit(ask, client, question, stream=bool(index % 2), max_new_tokens=128)
            for index, question in enumerate(QUESTIONS)
        ]
    expected = [answers(question, max_new_tokens=128) for question in QUESTIONS]
    assert [reply.result() for reply in replies] == expected and len(set(expected)) == 4


def test_a_wrong_option_is_the_clients_fault_and_named(client):
    with pytest.raises(openai.BadRequestError, match="`decoding` must be one of"):
        ask(client, QUESTIONS[0], decoding="fastest")
    with pytest.raises(openai.APIError, match="streaming"):
        ask(client, QUESTIONS[0], stream=True, decoding="fastest")
