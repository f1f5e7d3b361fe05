"""Templates: what a webhook is sent in place of an event's own body.

A template is a JSON text with placeholders `{{ path }}`, or the name of a ready one (`rules/presets.py`). Inside a JSON
string a placeholder becomes the value's text, in place of a value the value's JSON. Whatever an event holds, the result is
JSON: a template is refused whose text, with each placeholder replaced by something harmless, is none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import NamedTuple, NoReturn

from ..model import Refused
from . import paths, presets
from .bodies import Body
from .event_schemas import sample_body
from .event_types import patterns_for
from .paths import MISSING, Path
from .texts import Text
from .values import storable

MAX_BYTES = 16 * 1024
MAX_RENDERED = 256 * 1024  # bytes of a body
TOO_LONG = Text("A template has at most {most} KiB.", most=MAX_BYTES // 1024)
MAX_DEPTH = 200  # levels of arrays and objects: how many a parser reads depends on the Python
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_FIELD = "template"
_TOO_LARGE = Text("the body that the template makes of it is larger than {most} KiB", most=MAX_RENDERED // 1024)
_UNREADABLE = Text("the event's own body cannot be read")
_BLANKS = " \t\r\n"
_OUTSIDE = re.compile(r'[^"{]+|\{(?!\{)')
_IN_STRING = re.compile(r'(?:[^"\\{]|\\.|\{(?!\{))+', re.DOTALL)
_INNER = r'(?P<inner>"\{\{"|(?:[^\s{}"\\\[\]]|\["(?:[^"\\]|\\.)*"\])+)'
_PLACEHOLDER = re.compile(rf"\{{\{{\s*{_INNER}\s*\}}\}}")
_ESCAPED = re.compile(r"\{\{(?P<inner>(?:[^{}]|\{(?!\{)|\}(?!\})|\{\{(?=\\\"))*)\}\}")
_COLON = re.compile(r"[ \t\r\n]*:")
_LITERAL = '"{{"'
_SAMPLE_OUTSIDE = {"sample": True}


class CannotRender(Exception):
    """A template that makes no body of an event; its text is the cause, for people, after which no full stop stands."""


class _Placeholder(NamedTuple):
    path: Path
    in_string: bool


def check(text: str) -> str:
    """Return a template as it is stored, a ready one by name and version, or raise `Refused`, which says where it is wrong."""
    template = storable(text, _FIELD).strip(_BLANKS)
    if presets.is_name(template):
        return presets.newest(template)
    if len(template) > MAX_BYTES or len(template.encode()) > MAX_BYTES:
        raise Refused(TOO_LONG, _FIELD)
    _compile(template)
    return template


def check_samples(template: str, patterns: Iterable[str], catalogue: Iterable[str]) -> None:
    """Raise `Refused` unless a checked template makes JSON of at most 256 KiB of a sample of each type that `patterns` match.

    `catalogue` has the types of the webhook's project that are known; `*`, and a pattern that matches none of them, stand for
    others too, whose sample is `{"sample": true}`.
    """
    known, chosen = tuple(catalogue), set(patterns)
    bodies = {kind: sample_body(kind) for kind in known if chosen & set(patterns_for(kind))}
    matched = {pattern for kind in known for pattern in patterns_for(kind)}
    if "*" in chosen or chosen - matched:
        bodies[Text("any other type")] = {**sample_body("sample.event"), "data": _SAMPLE_OUTSIDE}
    for kind, body in bodies.items():
        try:
            rendered = render(template, json.dumps(body, ensure_ascii=False))
        except CannotRender as error:
            raise Refused(
                Text("The template fails for the sample of {kind}: {error}.", kind=kind, error=error.args[0]), _FIELD
            ) from None
        if paths.read(rendered) is MISSING:
            raise Refused(Text("The template makes no JSON of the sample of {kind}.", kind=kind), _FIELD)


def render(template: str, body: str) -> str:
    """Return what a template, as it is stored, makes of an event's body; raises `CannotRender`."""
    return render_value(template, Body.of(body))


def render_value(template: str, body: Body) -> str:
    """Return what a template makes of a body; raises `CannotRender`. What it has made of it before is returned again."""
    if body.root is MISSING:
        raise CannotRender(_UNREADABLE)
    if template in body.rendered:
        return body.rendered[template]
    text = renderer(template)(body)
    if len(text) * 4 > MAX_RENDERED and len(text.encode()) > MAX_RENDERED:
        raise CannotRender(_TOO_LARGE)
    body.rendered[template] = text
    return text


@lru_cache(maxsize=256)
def renderer(template: str) -> Callable[[Body], str]:
    """Return the function that makes bodies by a template as it is stored; raises `CannotRender` for one that is none."""
    if presets.is_name(template):
        preset = presets.by_version(template)
        if preset is None:
            raise CannotRender(Text("this release does not know the template {template}", template=template))
        return lambda body: preset(body.root)
    try:
        parts = _compile(template)
    except Refused as refused:
        raise CannotRender(Text("its template is none: {why}", why=refused.message.rstrip("."))) from None

    def render_parts(body: Body) -> str:
        pieces: list[str] = []
        size = 0
        for part in parts:
            if type(part) is str:
                piece = part
            else:
                value = paths.look_up(body.root, part.path)  # type: ignore[union-attr]
                piece = body.text(value, in_string=part.in_string)  # type: ignore[union-attr]
            pieces.append(piece)
            size += len(piece)
            if size > MAX_RENDERED:  # a placeholder may stand there a thousand times
                raise CannotRender(_TOO_LARGE)
        return "".join(pieces)

    return render_parts


def _compile(template: str) -> tuple[str | _Placeholder, ...]:
    """Return a template's texts and placeholders in their order, or raise `Refused`."""
    if not template:
        raise Refused(Text("The template is empty: give a JSON text, or the name of a ready one."), _FIELD)
    if template.startswith("\ufeff"):
        raise Refused(Text("The template begins with a byte order mark, which is not JSON: save it without."), _FIELD)
    parts: list[str | _Placeholder] = []
    texts: list[str] = []  # since the last placeholder
    skeleton: list[str] = []  # the template with something harmless, as long, in place of each placeholder
    at, in_string, first = 0, False, -1  # `first` is the place of the first placeholder in this string
    while at < len(template):
        begin = at
        if template[at] == '"':
            at, in_string, text = at + 1, not in_string, '"'
            if not in_string and first >= 0:
                _check_no_key(template, at, first)
            first = -1
        elif match := (_IN_STRING if in_string else _OUTSIDE).match(template, at):
            at, text = match.end(), match[0]
        elif template.startswith("{{", at):
            at, path = _placeholder(template, at, in_string=in_string)
            text = "{{"
            if path is not None:
                parts += ("".join(texts), _Placeholder(path, in_string))
                texts, text = [], ""
                if not in_string:
                    _check_no_key(template, at, begin)
                elif first < 0:
                    first = begin
            skeleton.append("-" * (at - begin) if in_string else "null".ljust(at - begin))
            texts.append(text)
            continue
        else:  # a backslash at the very end
            at, text = len(template), template[at:]
        texts.append(text)
        skeleton.append(text)
    _check_json("".join(skeleton), template)
    return (*parts, "".join(texts))


def _placeholder(template: str, at: int, *, in_string: bool) -> tuple[int, Path | None]:
    """Return where the placeholder at a place ends, and its path; None is a literal `{{`."""
    match = _PLACEHOLDER.match(template, at)
    inner = match["inner"] if match else None
    if match is None and in_string:  # its quotes may be escaped, as they stand inside a JSON string
        match = _ESCAPED.match(template, at)
        inner = _unescaped(match["inner"]) if match and '\\"' in match["inner"] else None
    if match is None or inner is None:
        raise Refused(
            Text(
                "The template's placeholder at {where} {why_not}",
                where=_where(template, at),
                why_not=_why_not(template, at),
            ),
            _FIELD,
        )
    inner = inner.strip()
    if inner == _LITERAL:
        if not in_string:
            where = _where(template, at)
            raise Refused(
                Text("The template has a literal {{{{ at {where}, outside of a JSON string.", where=where), _FIELD
            )
        return match.end(), None
    try:
        return match.end(), paths.parse(inner, _FIELD)
    except Refused as refused:
        where = _where(template, at)
        raise Refused(
            Text(
                "The template's placeholder at {where} has a wrong path. {message}",
                where=where,
                message=refused.message,
            ),
            _FIELD,
        ) from None


def _unescaped(inner: str) -> str | None:
    try:
        return str(json.loads(f'"{inner}"', strict=False))
    except ValueError:
        return None


def _why_not(template: str, at: int) -> Text:
    end = template.find("}}", at)
    if end < 0:
        return Text("is not closed: }} is missing.")
    if template[at + 2 : end].strip() == "":
        return Text("is empty: put a path into it, such as {{ data.workItem.title }}.")
    if "{" in template[at + 2 : end]:
        return Text('has braces within braces: close it with }} first; a literal {{ is {{ "{{" }}.')
    return Text(
        'cannot be read: it is a path such as {{ data.workItem.title }}, and a key with blanks or dots is ["a.b"].'
    )


def _check_no_key(template: str, end: int, at: int) -> None:
    """Refuse a placeholder at a place if what ends at `end` is the key of an object."""
    if _COLON.match(template, end):
        where = _where(template, at)
        raise Refused(
            Text("The template has a placeholder in a key, at {where}: only values can have one.", where=where), _FIELD
        )


def _check_json(skeleton: str, template: str) -> None:
    if _depth(skeleton) > MAX_DEPTH:
        raise Refused(
            Text("The template is nested too deeply: {max_depth} levels at most.", max_depth=MAX_DEPTH), _FIELD
        )
    try:
        _DECODER.decode(skeleton)
    except json.JSONDecodeError as error:
        words = error.msg[:1].lower() + error.msg[1:]
        raise Refused(
            Text("The template is not JSON at {where}: {words}.", where=_where(template, error.pos), words=words),
            _FIELD,
        ) from None
    except ValueError as error:  # NaN
        raise Refused(Text("The template is not JSON: {error}.", error=error.args[0]), _FIELD) from None


def _no_constant(word: str) -> NoReturn:
    raise ValueError(Text("{word} is no value of JSON", word=word))


_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_no_constant)


def _where(template: str, at: int) -> Text:
    line = template.count("\n", 0, at) + 1
    return Text("line {line}, column {column}", line=line, column=at - template.rfind("\n", 0, at))


def _depth(text: str) -> int:
    """Return how many arrays and objects of a JSON text are open at once at most."""
    depth = most = 0
    for bracket in re.findall(r"[\[\]{}]", _STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        most = max(most, depth)
    return most
