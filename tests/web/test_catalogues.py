"""Every text of the pages is in every catalogue, translated, and says as much as the English one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog

from almirant_webhooks.delivery import network
from almirant_webhooks.rules import erasing, languages, urls
from almirant_webhooks.rules.stored_texts import KNOWN, recognised
from almirant_webhooks.rules.texts import Text
from almirant_webhooks.sending import causes, own_faults, proxy_answers
from almirant_webhooks.storage.engine import words
from almirant_webhooks.storage.sql import duplicates, held
from almirant_webhooks.web.pages import audit_words
from almirant_webhooks.web.pages.languages import language

from ..support import catalogues

CODES = sorted(set(languages.LANGUAGES) - {languages.DEFAULT})
_PLACEHOLDER = re.compile(r"%\(\w+\)s|\{\w+[^{}]*\}|%%|\{\{|\}\}")
_TAG = re.compile(r"</?\w+[^>]*>")
# Of a script: its strings, and what of it is nothing that a reader sees, or is marked.
_STRING = r'"(?:[^"\\\n]|\\.)*"'
_LITERAL = re.compile(rf"{_STRING}|`[^`]*`")
_NOT_SHOWN = re.compile(
    rf"//[^\n]*|\b(?:_|ngettext)\({_STRING}(?:, {_STRING})?|className = {_STRING}|\"use strict\""
    rf"|\b(?:querySelector(?:All)?|matches|closest)\((?:{_STRING}|`[^`]*`)"
)
_FILLED = re.compile(r"\$\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}")
_WORDS = re.compile(r"[a-z]+[ .] ?\w|^[A-Z][a-z]+\W*$")


@pytest.fixture(scope="module", params=catalogues.DOMAINS)
def texts(request: pytest.FixtureRequest) -> tuple[str, Catalog]:
    """What stands in templates, code and scripts."""
    return request.param, catalogues.extracted(request.param)


@pytest.mark.parametrize("code", CODES)
def test_no_text_is_missing_left_over_or_in_doubt(texts: tuple[str, Catalog], code: str) -> None:
    """`python -m tests.support.catalogues` writes new ones into the catalogues; each has a translation in all its forms."""
    domain, extracted = texts
    catalogue = catalogues.read(code, domain)
    there = {message.id: message for message in catalogues.messages(catalogue)}
    assert [message.id for message in catalogues.messages(extracted) if message.id not in there] == []
    assert [text for text in there if extracted.get(text[0] if isinstance(text, tuple) else text) is None] == []
    assert list(catalogue.obsolete) == []
    for text, message in there.items():
        assert not message.fuzzy, text
        said = catalogues.forms(message.string)
        assert len(said) == (catalogue.num_plurals if isinstance(text, tuple) else 1), text
        assert all(said), text


@pytest.mark.parametrize("code", CODES)
def test_a_translation_has_the_values_and_the_links_of_its_text(texts: tuple[str, Catalog], code: str) -> None:
    """Nothing is lost on the way, and no markup comes in."""
    for message in catalogues.messages(catalogues.read(code, texts[0])):
        of_one, of_several = (catalogues.forms(message.id) * 2)[:2]
        for number, said in enumerate(catalogues.forms(message.string)):
            first = of_several if number else of_one
            for pattern in (_PLACEHOLDER, _TAG):
                assert sorted(pattern.findall(said)) == sorted(pattern.findall(first)), message.id
            assert (said[0] == " ", said[-1] == " ") == (first[0] == " ", first[-1] == " "), message.id


def _stored() -> list[str]:
    """What the service writes into rows, by the names that modules give to it."""
    modules = (causes, own_faults, proxy_answers, network)
    named = [getattr(module, name) for module in modules for name in vars(module) if name.isupper() and name[0] != "_"]
    tables = [
        *causes._ERRNO_WORDS.values(),
        *causes._TLS_WORDS.values(),
        *causes._CERTIFICATE_WORDS.values(),
        *own_faults._SHORT_OF.values(),
        urls.BLOCKED,
        erasing.REASON,
        held.DISCARDED,
        duplicates._USED,
        words.CHANGED_AFTER_TAKEN,
    ]
    proxy = [proxy_answers.refusal(status).cause for status in (401, 403, 407, 500, 502)]
    composed = [
        f"{causes.NO_ANSWER} within 10 s",
        f"{causes.NO_DNS_ANSWER} within 10 s",
        f"{proxy_answers.NO_CONNECTION}: {causes.NO_ROUTE}",
        f"{proxy_answers.NO_ANSWER}: {causes.NO_ROUTE}",
        "TLS: the certificate was not accepted: it has expired",
    ]
    return [*(text for text in named if type(text) is str), *map(str, tables), *proxy, *composed]


@pytest.mark.parametrize("code", CODES)
def test_what_the_service_wrote_into_a_row_is_said_in_the_readers_language(code: str) -> None:
    """Each cause that it knows: a row has the English words alone."""
    for text in _stored():
        assert language(code).text(recognised(text)) != text, text


def test_every_language_has_its_folder_and_none_is_there_without() -> None:
    """So that the pages offer what there is."""
    assert sorted(path.name for path in Path(catalogues.LOCALE).iterdir()) == CODES


def _own_texts(script: str) -> list[str]:
    """Return the strings of a script that read as words, and that no catalogue can translate."""
    literals = (_FILLED.sub("", one[1:-1]) for one in _LITERAL.findall(_NOT_SHOWN.sub("", script)))
    return [text for text in literals if _WORDS.search(text)]


def test_every_text_of_a_script_is_marked_for_the_catalogues() -> None:
    """What is marked is held to the catalogues above."""
    assert _own_texts('a.textContent = "Saved."; say(`${n} are new`); say(_("Copied."));') == ["Saved.", " are new"]
    scripts = sorted((catalogues.SOURCE / "web" / "static").glob("*.js"))
    assert scripts
    assert {script.name: _own_texts(script.read_text(encoding="utf-8")) for script in scripts} == {
        script.name: [] for script in scripts
    }


# Refusals of what no page does: of commands and of the API alone.
_OF_NO_PAGE = (
    "actions/erasing.py",
    "actions/events.py",
    "actions/imports.py",
    "actions/sealing.py",
    "actions/tokens.py make_link",
    "rules/imports/",
    "rules/links.py",
    "rules/validation.py link_lives",
    "rules/validation.py occurred_at",
    "storage/sql/erasing.py",
    "storage/sql/producers.py",
    "web/api/",
    "web/guard.py _ask_who",
    "web/idempotency.py _keyed",
    "web/server.py",
)
_REFUSALS = {
    "Refused",
    "WrongUsage",
    "Full",
    "LocalUrl",
    "Waiting",
    "NotFound",
    "Conflict",
    "Outdated",
    "_Wrong",
    "_answer",
}


def _plain_refusals(path: Path) -> Iterator[str]:
    """The refusals in a file whose text is neither a `Text` nor one of those that `recognised` knows."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for call in ast.walk(function):
            name = getattr(call.func, "id", getattr(call.func, "attr", "")) if isinstance(call, ast.Call) else ""
            if isinstance(call, ast.Call) and (name in _REFUSALS or name.startswith("HTTP")):
                texts = (one for one in (*call.args, *(each.value for each in call.keywords if each.arg == "text")))
                for text in texts:
                    said = _literal(text)
                    if " " in said and not recognised(said).parts and recognised(said) not in KNOWN:
                        yield f"{path.relative_to(catalogues.SOURCE)} {function.name}: {said}"


def _literal(node: ast.expr) -> str:
    """Return a literal with something in place of its values, and nothing for what is no literal."""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "1" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def test_every_refusal_that_a_page_can_show_is_a_text_for_the_catalogues() -> None:
    """What a rule, an action or a statement says to who reads a page is there in their language too."""
    files = [
        path for room in ("actions", "rules", "storage/sql", "web") for path in (catalogues.SOURCE / room).rglob("*.py")
    ]
    plain = sorted({one for path in files for one in _plain_refusals(path)})
    assert [one for one in plain if not one.startswith(_OF_NO_PAGE)] == []
    assert [place for place in _OF_NO_PAGE if not any(one.startswith(place) for one in plain)] == []


def _reasons_of_imports() -> Iterator[str]:
    """Each reason for which an import makes a webhook disabled, as it stands in the code; 1 for each value."""
    for path in (*(catalogues.SOURCE / "rules" / "imports").glob("*.py"), catalogues.SOURCE / "actions" / "imports.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".differs.append"):
                yield _literal(node.args[0])
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "differs":
                yield _literal(node.value)
            if isinstance(node, ast.Raise) and "NoEqual(" in ast.unparse(node):
                what = _literal(node.exc.args[0]) if isinstance(node.exc, ast.Call) else ""
                yield (
                    f"Its filter has {what}, which no condition says here; write a filter, and enable it."
                    if what
                    else ""
                )
            if isinstance(node, ast.FunctionDef) and node.name == "_why_disabled":
                yield from (_literal(one.value) for one in ast.walk(node) if isinstance(one, ast.Yield) and one.value)


@pytest.mark.parametrize("code", CODES)
def test_why_an_import_made_a_webhook_disabled_is_said_in_the_readers_language(code: str) -> None:
    """The audit trail had it in English; two reasons stand one behind the other."""
    reasons = sorted({reason for reason in _reasons_of_imports() if reason})
    assert len(reasons) >= 12
    for first, second in zip(reasons, [*reasons[1:], reasons[0]], strict=True):
        said = audit_words.detail("webhook.disabled", f"{first} {second}")
        assert said == f"{first} {second}" or "--header" in f"{first}{second}", "a page names no command"
        assert "--header" not in said
        assert len(_texts_of(said)) >= 2, first
        for text in _texts_of(said):
            assert language(code).text(text) != str(text), text
    cut = audit_words.detail("webhook.disabled", "It is disabled there. Its body is text/xml th")
    assert language(code).text(cut).endswith(". Its body is text/xml th")
    own = "nothing but failures since 2026-01-31T09:00:00.000Z"
    assert audit_words.detail("webhook.disabled", own).msgid == recognised(own).msgid


def _texts_of(text: Text) -> list[Text]:
    """The texts that a text is made of, which are in a catalogue by themselves."""
    within = [part for value in text.parts.values() if isinstance(value, Text) for part in _texts_of(value)]
    return within if not re.search("[a-z]", _PLACEHOLDER.sub("", text.msgid)) else [text, *within]
