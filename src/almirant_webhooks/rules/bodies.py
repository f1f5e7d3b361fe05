"""An event's body as filters and templates read it. What takes time by its size is worked out once, for however many webhooks."""

from __future__ import annotations

from . import paths
from .comparing import Plain, plain_of
from .json_text import as_json, as_text
from .paths import Value


class Body:
    """The value of one event's body, and what was worked out of it. In one thread, while the event is worked on."""

    def __init__(self, root: Value) -> None:
        self.root = root
        self.rendered: dict[str, str] = {}  # by template
        self._items: dict[int, set[Plain]] = {}  # by the array, which the value keeps
        self._texts: dict[tuple[int, bool], str] = {}

    @classmethod
    def of(cls, text: str) -> Body:
        """Read a body; the value of one that is no JSON is `MISSING`."""
        return cls(paths.read(text))

    def contains(self, array: list[Value], wanted: Value) -> bool:
        """Return whether an array of the body has an item, which is neither an array nor an object."""
        items = self._items.get(id(array))
        if items is None:
            items = self._items[id(array)] = {plain_of(item) for item in array if not isinstance(item, list | dict)}
        return plain_of(wanted) in items

    def text(self, value: Value, *, in_string: bool) -> str:
        """Return a value of the body as JSON, or as it stands inside a JSON string."""
        write = as_text if in_string else as_json
        if not isinstance(value, list | dict):
            return write(value)
        key = id(value), in_string
        if key not in self._texts:
            self._texts[key] = write(value)
        return self._texts[key]
