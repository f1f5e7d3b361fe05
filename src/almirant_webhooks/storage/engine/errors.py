"""What can go wrong with an engine, with words for the log and for people."""

from __future__ import annotations

from ...model import Misconfigured, Refused


class StorageError(Exception):
    """The engine could not do what it was asked. A write transaction that raises it has changed nothing.

    Its text has the engine's own words; `why` says in ours what is wrong. A later try may succeed, but for what
    `is_beyond_repair`.
    """

    why = "the database cannot be written"

    def __init__(self, words: str, sentence: str = "") -> None:
        super().__init__(words)
        self._sentence = sentence or f"{{what}}: {words}"

    def explained(self, what: object) -> Refused | Misconfigured:
        """Return it as a sentence for a person about `what` was used: `Misconfigured` for what a restart cannot mend."""
        return Refused(self._about(what))

    def _about(self, what: object) -> str:
        return self._sentence.replace("{what}", str(what), 1)


class Busy(StorageError):
    """Somebody else's lock is in the way."""

    why = "the database is locked by another program"


class Slow(Busy):
    """A statement has taken longer than it may, and was given up."""

    why = "the database takes too long for a statement"


class Full(StorageError):
    """There is no room left for what is to be written."""

    why = "the disk is full"


class Lost(StorageError):
    """The connection has ended, and it is not known whether a commit that was under way has succeeded."""

    why = "the connection to the database was lost"


class Unconfirmed(Lost):
    """The connection has ended while a commit was under way, and whether it was made could not be found out."""


class Denied(StorageError):
    """This user may not open it, or may not write to it."""

    def explained(self, what: object) -> Misconfigured:
        """Return it as a sentence for a person about `what` was used."""
        return Misconfigured(self._about(what))


class Damaged(Denied):
    """The database is damaged, or its tables are not ours: no later try can succeed."""


class TriggerFails(StorageError):
    """An application's trigger kept a statement from being run; its text names the trigger, and says what to do."""

    @property
    def why(self) -> str:  # type: ignore[override]
        """Its own words: the application's people have to know which trigger."""
        return str(self)


def is_beyond_repair(error: StorageError) -> bool:
    """Tell whether no later try can succeed."""
    return isinstance(error, Damaged)
