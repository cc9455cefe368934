"""Where secrets stand in a text: in JSON, settings, headers, addresses, and by their own form.

The time is linear in the length of a text, whatever is in it: each pattern is of bounded length, or begins at a place
that is found once and keeps what it has read. A marker counts as the secret whose place it takes, so that a text in
which secrets are hidden stays as it is.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator
from typing import NamedTuple

from ..internals.secrets import SECRET
from .portable import TOKENS, places_of_folders
from .secret_names import WEAK_LENGTH, Strength, is_path, is_secret, strength_of
from .secret_values import secrets_changed

HINTS = ("pass", "pwd", "secret", "key", "token", "auth", "cookie", "credential", "bearer", "jwt", "basic")
"""Parts of what stands before a secret, in small letters."""
SURE_LENGTH = 6
"""Characters from which a word with a digit in it is a secret, where its name may be one in a sentence."""

_MARKER = re.escape(SECRET)
_QUOTE = r"""\\{0,15}["']"""
_QUOTED_NAME = re.compile(
    rf"(?<!\\)(?P<quote>{_QUOTE})(?P<name>[\w .-]{{1,80}}+)(?P=quote)"
    rf"(?P<sign>\s{{0,8}}(?:=>|[:=])\s{{0,8}})(?P<value>{_QUOTE})"
)
_BARE_NAME = re.compile(
    rf"(?<![\w.-])(?P<name>[\w.-]++)(?P<sign>[ \t]{{0,8}}(?:=>|:=|[:=])(?![:=])[ \t]{{0,8}})(?P<value>{_QUOTE})?"
)
_FLAG = re.compile(rf"(?<![\w-])--(?P<name>[\w-]++)(?P<sign>[ ]{{1,8}})(?=[^\s-])(?P<value>{_QUOTE})?")
_ENDS = {mark: re.compile(rf"(?<!\\)(\\*+){mark}|\n") for mark in "\"'"}
_CHARACTER = r"""(?:[^\s"'\\]|\\(?![nrt"'\\]))"""
_WHOLE = re.compile(rf"{_MARKER}|{_CHARACTER}++")
_WORD = re.compile(rf"{_MARKER}|(?:(?![,;&|<>(){{}}\[\]`]){_CHARACTER})++")
_CREDENTIALS = re.compile(
    rf"{_MARKER}|(?:(?i:AWS4-HMAC-SHA256|Digest|Hawk|OAuth)[ ](?:{_CHARACTER}|[ \t\"])++)"
    rf"|(?:(?i:Basic|Bearer|Token|Api-?Key|Key|JWT|Negotiate|NTLM|SSWS|GenieKey)[ ]{{1,4}})?+"
    rf"(?P<word>{_MARKER}|{_CHARACTER}++)"
)
_COOKIES = re.compile(rf"{_MARKER}|[^\s=;\"'\\]{{1,200}}+=(?:{_CHARACTER}|[ \t])++")
_LINE_START = re.compile(r"(?:^|\n|\\n)[ \t]{0,40}(?:-[ ]|(?:export|set|ENV|env)[ ]+)?\Z")
_LINE_END = re.compile(r"""[ \t]{0,40}(?:$|[\r\n"'\\#])""")
_EXPRESSION = re.compile(r"[A-Za-z_][\w.]{0,200}[\[(]")
_CALL = re.compile(r"""[A-Za-z_][A-Za-z_.]{0,200}(?:[\[(]["']|(?:\(\)|[\[(][A-Za-z_.]{1,200}[\])])(?=[,;).\s]|$))""")
"""An expression also where a password may have brackets and digits: in a line that may be a setting."""
_VARIABLE = re.compile(r"(?:[A-Za-z_]\w{0,80}\.){0,8}([A-Za-z_]\w{0,80})(?=[,)\s]|$)")
_AFTER_TEXT = re.compile(r"[ \t]{0,8}(?:[)\],;]|$)")
LINE_LENGTH = 200
"""Characters of a line before a name in which the text is looked for that it may be in."""
_PLACEHOLDER = re.compile(r"[$<{%*]|\[(?!a secret)")
_NO_VALUES = frozenset({
    "str", "string", "text", "int", "integer", "number", "bytes", "bool", "boolean", "any", "object", "none",
    "null", "undefined", "true", "false", "yes", "no", "required", "optional", "secretstr", "token",
})  # fmt: skip
_URL = re.compile(rf"""(?<=://)[^\s/:@"'\\]{{0,256}}+:(?P<password>{_MARKER}|[^\s/"'\\]{{1,512}})@""")
_BASIC = re.compile(r"(?<=[Bb]asic )[A-Za-z0-9+/]{6,4096}+={0,2}")
_LITERAL = re.compile(r'"((?:[^"\\]|\\.)*+)"(\s*+:)?')
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----(?:[A-Za-z0-9+/=\s,:-]|\\[nr\\])*+")


class Span(NamedTuple):
    """A part of a text that is hidden, and what stands for it."""

    start: int
    end: int
    mark: str = SECRET


def spans_of(text: str) -> list[Span]:
    """Return what is to be hidden in a text, in order; no two parts overlap."""
    spans = [Span(start, end, mark) for start, end, mark in places_of_folders(text)]
    spans += (Span(found.start(), found.end()) for found in TOKENS.finditer(text))
    if "://" in text:
        spans += (Span(*found.span("password")) for found in _URL.finditer(text))
    small = text.lower()
    if any(hint in small for hint in HINTS):
        spans += _by_name(text)
        spans += (Span(*found.span()) for found in _BASIC.finditer(text) if _is_basic(found[0]))
        spans += (Span(*found.span()) for found in _PRIVATE_KEY.finditer(text))
        spans += _in_json(text)
    return list(_joined(spans))


def hidden(text: str) -> str:
    """Return a text without secrets and folders of this machine."""
    spans = spans_of(text)
    if not spans:
        return text
    pieces: list[str] = []
    at = 0
    for span in spans:
        pieces += text[at : span.start], span.mark
        at = span.end
    return "".join([*pieces, text[at:]])


def _joined(spans: list[Span]) -> Iterator[Span]:
    """Yield spans in order; of those that overlap one secret that covers them."""
    last: Span | None = None
    for span in sorted(spans):
        if last is None or span.start >= last.end:
            if last is not None:
                yield last
            last = span
        elif span.end > last.end or span.mark == SECRET:
            last = Span(last.start, max(last.end, span.end))
    if last is not None:
        yield last


# -- named values


def _by_name(text: str) -> Iterator[Span]:
    for pattern in (_QUOTED_NAME, _BARE_NAME, _FLAG):
        end = 0
        for found in pattern.finditer(text):
            strength = strength_of(found["name"]) if found.start() >= end else Strength.NONE
            if strength is Strength.NONE:
                continue
            span = _quoted(text, found, strength) if found["value"] else _bare(text, found, strength)
            if span is not None:
                end = span.end
                yield span


def _quoted(text: str, found: re.Match[str], strength: Strength) -> Span | None:
    quote = found["value"]
    start, closing = found.end(), _closing(text, found.end(), quote)
    value = text[start:closing]
    if value.rstrip("\\") == SECRET:  # a part of a stream may end within the quote that follows the marker
        return Span(start, start + len(SECRET))
    if found.re is _BARE_NAME and (_EXPRESSION.match(value) or _ends_text(text, found, quote)):
        return None
    return Span(start, closing) if is_secret(found["name"], value, strength) else None


def _ends_text(text: str, found: re.Match[str], quote: str) -> bool:
    """Return whether a quote ends the text that the name is in, as in `input("Password: ")`."""
    at = found.start()
    start = max(text.rfind("\n", max(at - LINE_LENGTH, 0), at), at - LINE_LENGTH, 0)
    return text.count(quote, start, at) % 2 == 1 and _AFTER_TEXT.match(text, found.end()) is not None


def _closing(text: str, start: int, quote: str) -> int:
    """Return where a value in quotes ends: they may be escaped, as in JSON within JSON."""
    for found in _ENDS[quote[-1]].finditer(text, start):
        if found[1] is None or len(found[1]) < len(quote):
            return found.start()
    return len(text)


def _bare(text: str, found: re.Match[str], strength: Strength) -> Span | None:
    name, sign, start = found["name"], found["sign"], found.end()
    small = name.lower()
    if ":" in sign and small.endswith("authorization"):
        return _span(_CREDENTIALS, text, start)
    if ":" in sign and small.endswith("cookie"):
        return _span(_COOKIES, text, start)
    if sign == ":" and "." in name:  # a class in a module
        return None
    is_setting = "=" in sign and not sign.strip("=") and _begins_line(text, found.start())
    word = (_WHOLE if is_setting else _WORD).match(text, start)
    if word is None:
        return None
    value = word[0]
    if value == SECRET:
        return Span(*word.span())
    if _PLACEHOLDER.match(value) or value.lower() in _NO_VALUES or (small.endswith("pwd") and is_path(value)):
        return None
    if (name.islower() or not is_setting) and _is_code(text, start, small, is_setting=is_setting):
        return None
    is_line = ":" in sign and _LINE_END.match(text, word.end()) and _begins_line(text, found.start())
    is_certain = is_setting or sign == "=" or bool(is_line)
    return Span(*word.span()) if _is_bare_secret(name, value, strength, is_certain=is_certain) else None


def _is_code(text: str, start: int, name: str, *, is_setting: bool) -> bool:
    """Return whether an expression of a program stands here: a call, or a variable of the same name."""
    if (_CALL if is_setting else _EXPRESSION).match(text, start):
        return True
    found = _VARIABLE.match(text, start)
    if found is None:
        return False
    variable = found[1].lower()
    return variable == name or (bool(found[0].rpartition(".")[1]) and variable.endswith(name))


def _is_bare_secret(name: str, value: str, strength: Strength, *, is_certain: bool) -> bool:
    has_digit = any(map(str.isdigit, value))
    if strength is Strength.STRONG:
        return is_certain or (has_digit and len(value) >= SURE_LENGTH)
    is_long = len(value) >= WEAK_LENGTH and (is_certain or has_digit)
    return is_long or (is_certain and name.isupper() and has_digit and len(value) >= SURE_LENGTH)


def _begins_line(text: str, at: int) -> bool:
    return _LINE_START.search(text, max(at - 60, 0), at) is not None


def _span(pattern: re.Pattern[str], text: str, start: int) -> Span | None:
    found = pattern.match(text, start)
    if found is None:
        return None
    word = found.groupdict().get("word")
    return Span(*found.span()) if word in (None, SECRET) or _is_credential(word or "") else None


def _is_credential(word: str) -> bool:
    """Return whether a word is none of a sentence."""
    odd = any(letter.isdigit() or letter.isupper() or letter in "=:+/" for letter in word[1:])
    return len(word) >= WEAK_LENGTH or (odd and len(word) >= SURE_LENGTH)


# -- by form


def _is_basic(text: str) -> bool:
    """Return whether this is a name and a password, as HTTP sends them."""
    try:
        return b":" in base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False


def _in_json(text: str) -> Iterator[Span]:
    """Yield what a text that is JSON as a whole hides deeper than by a name and its text."""
    if not text.lstrip().startswith(("{", "[")):
        return
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return
    secrets: set[str] = set()

    def noted(secret: str) -> str:
        secrets.add(secret)
        return secret

    secrets_changed(value, noted)
    for found in _LITERAL.finditer(text) if secrets else ():
        written, is_name = found.groups()
        if not is_name and (json.loads(f'"{written}"') if "\\" in written else written) in secrets:
            yield Span(*found.span(1))
