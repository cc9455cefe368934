"""Secrets of session files: hidden wherever they stand, and nothing else is."""

from __future__ import annotations

import base64
import json
import os
import time
import uuid
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langfuse_integration.encoding import object_form
from langfuse_integration.internals.secrets import SECRET
from langfuse_integration.reading.redaction import answer_redacted, redacted
from langfuse_integration.reading.volatile import VolatileParts


@dataclass
class Barn:
    """Of a user."""

    id: uuid.UUID
    key: bytes
    words: list[str]


PLANTED = "h7Kq2wZp-9Lm4xTv8Rb3c"
BASIC = base64.b64encode(f"ada:{PLANTED}".encode()).decode()
PLACES: dict[str, Any] = {
    "password": {"password": PLANTED},
    "camel case": {"clientSecret": PLANTED},
    "a header": {"headers": {"X-Api-Key": PLANTED}},
    "authorization": {"headers": {"Authorization": f"Basic {PLANTED}"}},
    "a list": {"api_keys": [PLANTED, PLANTED]},
    "a mapping": {"credentials": {"user": "ada", "word": PLANTED}},
    "a list of headers": {"headers": [{"name": "Cookie", "value": PLANTED}]},
    "a list of variables": {"env": [{"key": "DB_PASSWORD", "value": PLANTED}]},
    "pairs": {"headers": [["accept", "*/*"], ["x-api-key", PLANTED]]},
    "a weak name": {"token": PLANTED},
    "deep": {"a": [{"b": {"c": [{"access_token": PLANTED}]}}]},
    "JSON": f'{{"api_key": "{PLANTED}"}}',
    "JSON in a sentence": f'I sent {{"user": "ada", "password" : "{PLANTED}"}} to it.',
    "JSON in JSON": json.dumps({"body": json.dumps({"api_key": PLANTED})}),
    "JSON in JSON in JSON": json.dumps(json.dumps(json.dumps({"deep": {"secret": PLANTED}}))),
    "a mapping in JSON": json.dumps({"cookies": {"sid": PLANTED}}),
    "a list of variables in JSON": json.dumps([{"name": "DB_PASSWORD", "value": PLANTED}]),
    "Python": f"{{'api_key': '{PLANTED}', 'n': 1}}",
    "code": f'client = Client(api_key="{PLANTED}", timeout=3)',
    "a setting": f"DB_HOST=db\nDB_PASSWORD={PLANTED}\nDB_PORT=1",
    "an odd setting": f"DB_PASSWORD=a,(b&{PLANTED};x\n",
    "a setting with brackets": f"password={PLANTED[:4]}(1)\ntoken={PLANTED[:4]}[12]{PLANTED}\n",
    "an export": f"export X_TOKEN={PLANTED}\nmake",
    "a short token": "export X_TOKEN=h7Kq2wZp",
    "a Windows setting": f"set GITHUB_TOKEN={PLANTED}\r\n",
    "YAML": f"db:\n  user: ada\n  password: {PLANTED}\n",
    "YAML in words": "db:\n  password: correcthorse\n",
    "TOML": f'secret_key = "{PLANTED}"\n',
    "a setting in JSON": json.dumps({"file": f"A=1\nDB_PASSWORD={PLANTED}\nB=2"}),
    "basic": f"GET / HTTP/1.1\r\nAuthorization: Basic {BASIC}\r\nHost: a",
    "bearer": f"curl -H 'Authorization: Bearer {PLANTED}' https://a.example",
    "another scheme": f"Authorization: Token {PLANTED}",
    "no scheme": f"Proxy-Authorization: {PLANTED}",
    "basic alone": f"It sends Basic {BASIC} to the server.",
    "bearer alone": f"It sends Bearer {PLANTED} to the server.",
    "a cookie": f"Cookie: theme=dark; sid={PLANTED}; lang=en\nHost: a",
    "a set cookie": f"Set-Cookie: sid={PLANTED}; Path=/; HttpOnly",
    "a cookie of curl": f'curl -H "Cookie: sid={PLANTED}" https://a.example',
    "an API header": f"curl -H 'X-Api-Key: {PLANTED}' https://a.example",
    "an address": f"postgres://ada:{PLANTED}@db.example:5432/llamas",
    "an address without a user": f"redis://:{PLANTED}@cache:6379/0",
    "an odd address": f"amqp://ada:a@{PLANTED}@mq/",
    "a query": f"https://a.example/b?x=1&api_key={PLANTED}&y=2",
    "a connection": f"Server=db;User Id=ada;Password={PLANTED};Encrypt=yes",
    "a flag": f"deploy --api-key {PLANTED} --force",
    "a flag with =": f"deploy --password={PLANTED} --force",
    "a private key": f"-----BEGIN RSA PRIVATE KEY-----\n{PLANTED[:8]}\n-----END RSA PRIVATE KEY-----\n",
    "a secret of another form": {"secret": {"$": "bytes", "base64": PLANTED}},
    "an escaped secret in JSON": '{"credentials": {"word": "h7Kq2wZp-9Lm4xTv\\u0038Rb3c"}}',
    "a key of Groq": f"see gsk_{PLANTED}",
    "a key of LangSmith": f"see lsv2_pt_{PLANTED}",
    "a mapping with an odd key": {"$": "hay", "password": PLANTED},
    "a list with an odd key": {"$": ["hay"], "password": PLANTED},
    "a password before a text": f'log("password: {PLANTED}")',
    "a well-known form": "see sk-proj-0123456789abcdef0123",
}
SHOWN = (PLANTED, BASIC, PLANTED[:4], "correcthorse", "sk-proj-0123456789abcdef0123")


@pytest.mark.parametrize("place", PLACES)
def test_a_planted_secret_is_hidden(place: str) -> None:
    """None of its characters is left, and what is hidden already stays as it is."""
    once = redacted(PLACES[place])
    written = json.dumps(once)
    assert SECRET in written
    assert not [shown for shown in SHOWN if shown in written]
    assert redacted(once) == once


@pytest.mark.parametrize("place", PLACES)
def test_both_sides_of_a_replay_are_compared_alike(place: str) -> None:
    """What is asked now, with the secret, is what stands in the file."""
    from langfuse_integration.reading.redaction import IN_FILES

    rules = VolatileParts(redaction=IN_FILES)
    assert rules.key(redacted(PLACES[place])) == rules.key(PLACES[place])


KEPT: dict[str, Any] = {
    "log probabilities": {"logprobs": {"content": [{"token": "internationalization", "logprob": -0.1, "bytes": None}]}},
    "log probabilities of Gemini": {"chosenCandidates": [{"token": "internationalization", "logProbability": -0.1}]},
    "old log probabilities": {"logprobs": {"tokens": ["a", "internationalization"], "token_logprobs": [-0.1, -0.2]}},
    "headers": {"headers": {"content-type": "text/html", "x-page": "2"}},
    "a table's headers": {"headers": ["name", "age"], "rows": [["ada", "36"]]},
    "a page": {"next_page_token": "CAUQAA", "token": "p2", "items": []},
    "a long page": {"nextPageToken": "CAUQAAabcdefghijklmnopqrstuvwxyz0123456789", "NextToken": "a" * 40},
    "an id in a question": {"progressToken": "0123456789abcdef0123"},
    "counts": {"usage": {"prompt_tokens": 3, "completion_tokens_details": {"reasoning_tokens": 0}}, "max_tokens": 9},
    "a schema": {
        "properties": {
            "password": {"type": "string", "description": "Of the user."},
            "token": {"description": "The token to go on with, if any."},
        },
        "required": ["password", "token"],
    },
    "a schema without types": {"properties": {"api_key": {"title": "Key", "default": None}}},
    "what describes": {
        "authorization_url": "https://a.example/auth",
        "password_hint": "a pet",
        "secret_name": "db/main",
    },
    "a secretary": {"secretary": "Bob", "passwordless": "yes", "author": "Ada", "tokenizer": "cl100k_base_and_more"},
    "thinking": {"type": "thinking", "thinking": "Hm.", "signature": "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrk"},
    "nothing": {"password": "", "secret": None, "token": False},
    "code": "def login(user, password=None, token: str = ''):\n  api_key = os.environ['API_KEY']\n  x(token=token)",
    "types": "class User:\n    password: str\n    api_key: SecretStr\n    token: Token | None\n",
    "settings in code": "client = Client(api_key=settings.api_key, secret=get_secret(name))",
    "a question in code": 'password = input("Password: ")\npwd = getpass("Your password: ", stream)\n',
    "arguments in lines": (
        "Client(\n  api_key=os.environ['API_KEY'],\n  password=password,\n  secret=settings.APP_SECRET,\n)"
    ),
    "a call in a line": 'password=form.cleaned_data["password"]\ntoken=get_token()',
    "dates and enums": {
        "credentials": {
            "expiry": {"$": "text", "class": "datetime:datetime", "text": "2024-01-01T00:00:00"},
            "kind": {"$": "enum", "class": "farm:Kind", "value": "hay"},
        }
    },
    "a shell": "docker run -e DB_PASSWORD=$DB_PASSWORD -e X_TOKEN=${X_TOKEN} app",
    "a sentence": "The secret: never give up. Use --password to log in. Cookie: a small cake. Basic understanding.",
    "another sentence": "Passwords must be long; the token bucket holds 10 tokens. Authentication is basic training.",
    "addresses": "https://a.example:8080/b?page=2 and http://[::1]:80/ and git@github.com:a/b.git mailto:ada@a.example",
    "a comparison": "if password == other and token != x: pass",
    "a class": {"class": "farm.forms.password:Password2", "of": "farm.secret:SecretBarn"},
    "a folder": {"pwd": "/srv/app"},
    "JSON of a listing": '{"items": [1], "next_page_token": "CAUQAA", "total_tokens": 12}',
}


@pytest.mark.parametrize("place", KEPT)
def test_what_is_no_secret_stays(place: str) -> None:
    """A session file has to rebuild the same answer."""
    assert redacted(KEPT[place]) == KEPT[place]


def pieces(text: str, ends: list[int]) -> list[str]:
    """Cut a text at these places."""
    places = sorted({0, len(text), *(end % len(text) for end in ends)})
    return [text[start:end] for start, end in pairwise(places)]


def parts_redacted(cut: list[str]) -> list[list[str]]:
    """Return the parts of a stream as they are hidden in answers of each form."""
    chat = {"chunks": [{"content": cut[0], "id": "a"}, *cut[1:]]}
    calls = {"chunks": [{"tool_call_chunks": [{"args": piece, "index": 0}]} for piece in cut]}
    deltas = {"pieces": [{"=": {"text": cut[0]}}, *({"~": {"text": {"+": piece}}} for piece in cut[1:])]}
    one, other, third = answer_redacted(chat), answer_redacted(calls), answer_redacted(deltas)
    return [
        [one["chunks"][0]["content"], *one["chunks"][1:]],
        [chunk["tool_call_chunks"][0]["args"] for chunk in other["chunks"]],
        [third["pieces"][0]["="]["text"], *(piece["~"]["text"]["+"] for piece in third["pieces"][1:])],
    ]


@given(st.sampled_from([place for place in PLACES.values() if isinstance(place, str)]), st.lists(st.integers(0, 500)))
def test_a_secret_in_the_parts_of_a_stream_is_hidden(text: str, ends: list[int]) -> None:
    """However a stream is cut, its parts make the hidden text; no part is lost, and the boundaries stay."""
    cut = pieces(text, ends)
    for texts in parts_redacted(cut):
        assert "".join(texts) == redacted(text)
        assert len(texts) == len(cut)


STREAMED = {place: text for place, text in (PLACES | KEPT).items() if isinstance(text, str)}


@pytest.mark.parametrize("place", STREAMED)
def test_a_text_in_two_parts_is_hidden_as_a_whole_wherever_they_meet(place: str) -> None:
    """The second part begins at each character: within a secret, its quotes, and what seems to be one by itself."""
    text = STREAMED[place]
    expected = redacted(text)
    for at in range(1, len(text)):
        cut = [text[:at], text[at:]]
        assert ["".join(texts) for texts in parts_redacted(cut)] == [expected] * 3, cut


def test_a_text_that_replaces_another_one_is_looked_at_by_itself() -> None:
    """What is no part of a longer text is a text of its own, whatever the one before it ends with; so is a name."""
    setting = "password: correcthorse"
    assert redacted(f"He said {setting}") == f"He said {setting}"
    whole = {"pieces": [{"=": {"text": "He said "}}, {"~": {"text": {"=": setting}}}]}
    names = {"chunks": [{"content": "", "id": "He said "}, {"content": "a", "id": setting}]}
    alone = {"chunks": [{"content": setting}]}
    blocks = {"chunks": [{"content": [{"type": "text", "text": text}]} for text in ("He said ", setting)]}
    more = {"pieces": [{"=": [{"text": "He said "}]}, {"#": {}, "+": [{"text": setting}]}]}
    for form in (whole, names, alone, blocks, more):
        assert "correcthorse" not in json.dumps(answer_redacted(form))
    parts = {"pieces": [{"=": {"text": ""}}, {"=": {"text": "He said "}}, {"~": {"text": {"+": setting}}}]}
    indexed = {"chunks": [{"content": [{"index": 0, "text": text}]} for text in ("He said ", setting)]}
    for form in (parts, indexed):
        assert answer_redacted(form) == form


NAMES = st.sampled_from(
    ["password", "api_key", "token", "X_TOKEN", "Authorization", "Cookie", "name", "headers", "pwd"]
)
WORDS = st.text(alphabet="ab1 =:;&,\"'\\\n{}[]<>$@/.-", max_size=12) | NAMES | st.sampled_from([PLANTED, SECRET, "://"])
TEXTS = st.lists(WORDS, max_size=12).map("".join)
VALUES = st.recursive(
    TEXTS | st.none() | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | TEXTS, inner, max_size=3),
    max_leaves=12,
)


@given(VALUES)
def test_what_is_hidden_stays_hidden(value: Any) -> None:
    """A file that is read and written again is the same, whatever is in it; forms of values stay."""
    once = redacted(value)
    assert redacted(once) == once
    assert shape(once) == shape(value)


def test_an_object_with_a_secret_can_be_rebuilt() -> None:
    """What says how to rebuild an object stays, and what cannot be rebuilt without its secret becomes a text."""
    form = {"credentials": object_form.form_of({"user": Barn(uuid.UUID(int=7), b"hay", [PLANTED])})}
    once = redacted(form)
    assert PLANTED not in json.dumps(once)
    user = object_form.rebuilt(once)["credentials"]["user"]
    assert (type(user), user.id, user.key, user.words) == (Barn, SECRET, SECRET, [SECRET])
    assert redacted(once) == once


def shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    return [shape(item) for item in value] if isinstance(value, list) else type(value)


HOSTILE = (
    "a", "password", "password=", "\\", '\\"', '"password":"', '\\"token\\":\\"', "'token' : '", "eyJ-", "eyJa.", "://a:",
    "://", "--token ", "token: ", "Cookie: ", "Cookie: a", "Authorization: ", "Basic ", "-----BEGIN PRIVATE KEY-----",
    "sk-", "a@", "token=a", " ", "\n", "password: '", "Bearer ", "SG.", 'token:"', "export ", "://:",
    "[a secret was here", "x=",
)  # fmt: skip


def takes(text: str) -> float:
    """Return the processor's seconds for a text."""
    start = time.process_time()
    redacted(text)
    return time.process_time() - start


@pytest.mark.parametrize("part", HOSTILE)
def test_a_hostile_text_takes_no_more_time_than_its_length(part: str) -> None:
    """Sixteen times the text takes about 16 times as long, not 256 times."""
    small, large = part * (8_000 // len(part)), part * (128_000 // len(part))
    assert min(takes(large) for _ in range(2)) < 64 * min(takes(small) for _ in range(5)) + 0.05


@pytest.mark.parametrize("kind", ["many secrets", "many folders"])
def test_many_things_to_hide_take_no_more_time_than_their_number(kind: str) -> None:
    """Each is found once."""

    def text(count: int) -> str:
        if kind == "many folders":
            return f"{os.getcwd()} " * count  # noqa: PTH109
        return json.dumps([{"secret": {"word": f"s{number}"}} for number in range(count)])

    small, large = text(500), text(8_000)
    assert takes(large) < 64 * min(takes(small) for _ in range(3)) + 0.05


def test_a_stream_with_many_secrets_takes_no_more_time_than_its_length() -> None:
    """Each part is compared with the secrets in it, not with all."""

    def seconds(count: int) -> float:
        form = {"chunks": [{"content": f"password=a{number}\n"} for number in range(count)]}
        start = time.process_time()
        answer_redacted(form)
        return time.process_time() - start

    assert seconds(16_000) < 100 * min(seconds(500) for _ in range(3)) + 0.05


def test_a_megabyte_of_everything_hostile_is_read() -> None:
    """All parts together take as long for their length, too."""
    small, large = ("".join(part * (size // len(part)) for part in HOSTILE) for size in (2_000, 32_000))
    assert len(large) > 1_000_000
    assert takes(large) < 64 * min(takes(small) for _ in range(3)) + 0.05


OPENAI: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o",
    "system_fingerprint": "fp_44709d6fcb",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": "The secret: internationalization.", "refusal": None},
            "logprobs": {
                "content": [
                    {
                        "token": "internationalization",
                        "logprob": -0.1,
                        "bytes": [1],
                        "top_logprobs": [{"token": "internationalisation", "logprob": -2.0, "bytes": None}],
                    }
                ],
                "refusal": None,
            },
        }
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}
ANTHROPIC: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5",
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "content": [
        {"type": "thinking", "thinking": "A token?", "signature": "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrk"},
        {"type": "redacted_thinking", "data": "EmwKAhgBEgy3va3pzix0123456789abcdef"},
        {
            "type": "tool_use",
            "id": "toolu_01A09q90qw90lq917835lq9",
            "name": "list_pages",
            "input": {"page_token": "CAUQAAabcdefghijklmnop", "headers": {"accept": "text/html"}, "token": "p2"},
        },
    ],
    "usage": {
        "input_tokens": 1,
        "output_tokens": 1,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
    },
}


@pytest.mark.llamaindex
def test_answers_of_providers_are_rebuilt_as_they_were() -> None:
    """Log probabilities, thoughts' signatures, pages and headers are no secrets, in objects of the clients neither."""
    openai, anthropic = pytest.importorskip("openai.types.chat"), pytest.importorskip("anthropic.types")
    types = pytest.importorskip("llama_index.core.base.llms.types")
    from langfuse_integration.encoding import object_form

    for kind, wire in ((openai.ChatCompletion, OPENAI), (anthropic.Message, ANTHROPIC)):
        assert redacted(wire) == wire
        message = types.ChatMessage("ok", additional_kwargs={"headers": {"a": "b"}})
        response = types.ChatResponse(message=message, raw=kind.model_validate(wire))
        form = {"form": "llamaindex.answer", "response": object_form.form_of(response)}
        assert answer_redacted(form) == form
