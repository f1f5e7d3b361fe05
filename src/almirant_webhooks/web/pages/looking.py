"""Pages for who may look and change nothing: what changes something is taken out here, so that no template forgets it."""

from __future__ import annotations

import re

# Values stand in a page with `<` and `"` escaped, so that each of these is a tag of a template.
_SELECTING = re.compile(r'<form method="post"[^>]* data-select[^>]*>(.*?)</form>', re.DOTALL)
_FORM = re.compile(r'<form method="post"(?! action="/(?:sign-out|language|portal/))[^>]*>.*?</form>', re.DOTALL)
_CONTROL = re.compile(r'<button\b.*?</button>|<input [^>]*type="(?:checkbox|hidden)"[^>]*>', re.DOTALL)
_LINK = re.compile(
    r'<a (?P<before>[^>]*)href="/[^"?]*/(?:new|edit|delete|enable|rotate-secret|replay|revoke|end|cancel)(?:\?[^"]*)?"(?P<after>[^>]*)>(?P<text>.*?)</a>',
    re.DOTALL,
)


def without_changes(page: str) -> str:
    """Return a page without the forms, buttons and links that lead to a change, but for signing out, coming in and the language."""
    page = _SELECTING.sub(lambda form: _CONTROL.sub("", form[1]), page)
    return _LINK.sub(_words, _FORM.sub("", page))


def _words(link: re.Match[str]) -> str:
    """Return the words of a link within a sentence; a button, an icon or a tab goes as a whole."""
    attributes = link["before"] + link["after"]
    is_apart = "class=" in attributes or "data-whole" in attributes
    return "" if is_apart else link["text"]
