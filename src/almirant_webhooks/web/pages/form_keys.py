"""Keys of forms: a form that is sent twice does what it does once."""

from __future__ import annotations

import re
import secrets

ONCE = "once"  # the field that has the key
TYPED_FOR = (
    "typed_for"  # the project of the session in which a form was typed that is sent again; empty for the operator
)
UNSCRIPTED = "unscripted"  # says that no script took part, which takes it away
NOT_FIELDS = frozenset({ONCE, TYPED_FOR, UNSCRIPTED})
_FORM = re.compile(r'<form method="post"[^>]*>')


def give_key(page: str) -> str:
    """Return a page whose forms have a key, new each time that the page is made."""
    fields = (
        f'<input type="hidden" name="{ONCE}" value="{secrets.token_urlsafe(16)}">'
        f'<input type="hidden" name="{UNSCRIPTED}" value="1">'
    )
    return _FORM.sub(lambda form: form[0] + fields, page)
