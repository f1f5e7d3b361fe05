"""The texts of the pages, as they stand in templates, code and scripts, beside what the catalogues have of them.

`python -m tests.support.catalogues` writes new texts into every catalogue, to be translated, and takes old ones out.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract
from babel.messages.pofile import read_po, write_po

SOURCE = Path(__file__).parents[2] / "src" / "almirant_webhooks"
LOCALE = SOURCE / "web" / "locale"
# By which functions a text is marked; of a plural the first two arguments.
_PYTHON = {"Text": None, "plural": (1, 2)}
_TEMPLATES = {"_": None, "gettext": None, "ngettext": (1, 2)}
_SCRIPTS = {"_": None, "ngettext": (1, 2)}
# For each catalogue: which files, read how, and the functions.
_DOMAINS = {
    "messages": (("**/*.py", "python", _PYTHON), ("web/templates/*.html", "jinja2.ext:babel_extract", _TEMPLATES)),
    "scripts": (("web/static/*.js", "javascript", _SCRIPTS),),
}
DOMAINS = tuple(_DOMAINS)
_OPTIONS = {
    "trimmed": "true",
    "trim_blocks": "true",
    "lstrip_blocks": "true",
    "silent": "false",
    "parse_template_string": "true",
}


def extracted(domain: str) -> Catalog:
    """The texts that there are, each with the files in which it stands."""
    catalogue = Catalog(fuzzy=False)
    for pattern, method, keywords in _DOMAINS[domain]:
        for path in sorted(SOURCE.glob(pattern)):
            with path.open("rb") as file:
                for _, text, _, _ in extract(method, file, keywords=keywords, options=_OPTIONS):
                    if text and text != "":
                        catalogue.add(text, locations=[(str(path.relative_to(SOURCE)), 0)])
    return catalogue


def path_of(code: str, domain: str) -> Path:
    return LOCALE / code / "LC_MESSAGES" / f"{domain}.po"


def read(code: str, domain: str) -> Catalog:
    with path_of(code, domain).open("rb") as file:
        return read_po(file, locale=code)


def messages(catalogue: Catalog) -> Iterator[Message]:
    """Every text of a catalogue, without its head."""
    return (message for message in catalogue if message.id)


def forms(text: str | tuple[str, ...] | list[str] | None) -> tuple[str, ...]:
    """A text, or each of its plural forms."""
    return (text,) if isinstance(text, str) else tuple(text or ())


def update(code: str, domain: str) -> None:
    """Write new texts into a catalogue, without a translation, and take those out that are no longer there."""
    catalogue = read(code, domain)
    catalogue.update(extracted(domain), no_fuzzy_matching=True, update_creation_date=False)
    catalogue.obsolete.clear()
    written = io.BytesIO()
    write_po(written, catalogue, width=120, include_lineno=False, ignore_obsolete=True)
    path_of(code, domain).write_bytes(written.getvalue())


def write_brackets(folder: Path, code: str) -> None:
    """Write catalogues of a language in which each text is itself in brackets."""
    for domain in DOMAINS:
        catalogue = Catalog(locale=code)
        for message in messages(extracted(domain)):
            said = [f"⟦{text}⟧" for text in forms(message.id)]
            catalogue.add(message.id, string=said[0] if isinstance(message.id, str) else said)
        path = folder / code / "LC_MESSAGES" / f"{domain}.po"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            write_po(file, catalogue)


if __name__ == "__main__":
    for folder in sorted(LOCALE.iterdir()):
        for domain in DOMAINS:
            update(folder.name, domain)
