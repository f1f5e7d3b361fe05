"""Seals and opens what is secret in the database, with the keys of a file (contract, section 4: secrets at rest).

The file has a line `ID BASE64` for each key, and the last one seals. It is the service's own, beside the database, or one
that the operator gives by `secrets.key_file`, which as a systemd credential is the key file itself.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import stat
from collections.abc import Collection
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from ..model import Misconfigured, Refused
from ..settings.schema import Settings
from . import files, sealed_texts

ENDING = ".seal"
MOST_BYTES = 64 * 1024  # of a key file
MOST_OPENED = 16_384  # texts that are kept open
_WAYS = "name the file in secrets.key_file, or give it as the systemd credential of that name"


class NoKey(Misconfigured):
    """There is no key file that can be used; its words say how to give one."""


class Unopenable(Refused):
    """One sealed text cannot be opened, as it was changed or belongs elsewhere; its words say why."""


class Seals:
    """Seals and opens texts with the keys in the file at `path`; used by any thread.

    `is_on` says whether new texts are sealed; sealed ones are opened in any case. `is_own` says that the file is the
    service's own, which it may make and add keys to. Nothing is read until the first key is needed.
    """

    def __init__(self, path: Path, *, is_on: bool = True, is_own: bool = True) -> None:
        self.path = path
        self.is_on = is_on
        self.is_own = is_own
        self._seen: tuple[int, int, int] | None = None
        self._keys: dict[str, bytes] = {}
        self._read_by_all: Collection[str] = ()
        self._was_wrong: NoKey | None = None  # as root found it, before this user could no longer look
        self._open = lru_cache(maxsize=MOST_OPENED)(self._open_anew)

    def seal(self, text: str, owner: str, field: str) -> str:
        """Return a text as it is stored for the field of its owner: sealed with the newest key, or plain if sealing is off.

        Raises `NoKey`, and `Refused` for a plain text that would look sealed.
        """
        if not self.is_on:
            if sealed_texts.is_sealed(text):
                raise Refused(
                    f"A secret or a header's value must not begin with {sealed_texts.PREFIX}, as sealed ones do."
                )
            return text
        keys, key_id = self._read(), self.newest()
        return sealed_texts.seal(text, key_id, keys[key_id], owner, field)

    def open(self, text: str, owner: str, field: str) -> str:
        """Return what a stored text is; raises `NoKey`, or `Unopenable` for a text that no key opens."""
        return self._open(text, owner, field) if sealed_texts.is_sealed(text) else text

    def is_current(self, text: str) -> bool:
        """Tell whether a text is stored as `seal` would store it now: with the newest key, or plain. Raises `NoKey`."""
        if not self.is_on:
            return not sealed_texts.is_sealed(text)
        return sealed_texts.is_sealed(text) and sealed_texts.key_id_of(text) == self.newest()

    def newest(self) -> str:
        """Return the id of the key that seals: the last one, or the last that all daemons have read. Raises `NoKey`."""
        ids = list(reversed(self._read()))
        return next((key_id for key_id in ids if key_id in self._read_by_all), ids[0])

    def last(self) -> str:
        """Return the id of the last key of the file. Raises `NoKey`."""
        return next(reversed(self._read()))

    def ids(self) -> tuple[str, ...]:
        """Return the ids of the keys that open, none without a file that can be used."""
        try:
            return tuple(self._read())
        except NoKey:
            return ()

    def seal_for(self, read_by_all: Collection[str]) -> None:
        """Seal with the last of these keys, which all daemons have read, from now on; with the last of the file if there is none."""
        self._read_by_all = read_by_all

    def is_readable(self) -> bool:
        """Tell whether this user can read the file, or its keys were read before."""
        return bool(self._keys) or os.access(self.path, os.R_OK)

    def changed_at(self) -> float | None:
        """Return when the file was last changed, in seconds since 1970; None if that cannot be told."""
        try:
            return os.stat(self.path).st_mtime
        except OSError:
            return self._seen[0] / 1e9 if self._seen else None

    def _open_anew(self, text: str, owner: str, field: str) -> str:
        keys = self._keys
        if sealed_texts.key_id_of(text) not in keys:
            keys = self._read()
        try:
            return sealed_texts.open_sealed(text, keys, owner, field)
        except sealed_texts.NotOpened as error:
            raise Unopenable(
                f"{_WORDS.get(field.partition(':')[0], field)} of {owner} cannot be opened: {error}."
            ) from None

    def read_now(self) -> None:
        """Read the keys while this user may; what is wrong with the file is said when a key is needed."""
        try:
            self._read()
        except NoKey as error:
            self._was_wrong = error

    def _read(self) -> dict[str, bytes]:
        """Return the keys, read again if the file has changed; those of before while it cannot be used."""
        try:
            return self._read_file()
        except NoKey:
            if not self._keys:
                raise
            return self._keys

    def _read_file(self) -> dict[str, bytes]:
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NoKey(
                f"There is no key file {self.path}, and what is secret in the database is sealed. Put the key file of this "
                f"database there, or {_WAYS}."
            ) from None
        except PermissionError:
            raise self._was_wrong or NoKey(self._words_of_rights()) from None
        except OSError as error:
            raise NoKey(f"The key file {self.path} cannot be read: {error.strerror}.") from None
        try:
            status = os.fstat(descriptor)
            seen = status.st_mtime_ns, status.st_ino, status.st_size
            if seen == self._seen:
                return self._keys
            self._check_rights(status)
            content = os.read(descriptor, MOST_BYTES + 1)
        finally:
            os.close(descriptor)
        try:
            if len(content) > MOST_BYTES:
                raise ValueError(f"it has more than {MOST_BYTES:,} bytes")
            keys = sealed_texts.parse(content.decode("ascii"))
        except UnicodeDecodeError:
            raise NoKey(f"The key file {self.path} cannot be used: it is not ASCII text.") from None
        except ValueError as error:
            raise NoKey(f"The key file {self.path} cannot be used: {error}.") from None
        self._keys, self._seen = keys, seen
        return keys

    def _words_of_rights(self) -> str:
        owner = ""
        with suppress(OSError, KeyError):
            owner = pwd.getpwuid(os.stat(self.path).st_uid).pw_name
        run = f"Run the command as {owner} (sudo -u {owner} …)" if owner else "Run the command as the service's user"
        return f"The key file {self.path} cannot be read by this user. {run}, or {_WAYS}."

    def _check_rights(self, status: os.stat_result) -> None:
        """Refuse a file that others can read. systemd gives credentials by an access list, which shows as the group's right."""
        if not stat.S_ISREG(status.st_mode):
            raise NoKey(f"The key file {self.path} is not a file.")
        too_open = 0o007 if self.path.is_relative_to("/run") and not self.is_own else 0o077
        if status.st_mode & too_open:
            raise NoKey(
                f"The key file {self.path} can be opened by others (mode {stat.S_IMODE(status.st_mode):04o}): "
                f"chmod 0600 {self.path}"
            )

    def ensure(self) -> bool:
        """See that there is a key, and make the service's own file (0600) if it is missing; return whether it was made.

        Raises `NoKey` for a given file that cannot be used.
        """
        if self.is_own and not os.path.lexists(self.path):
            return self._write(sealed_texts.new_line(), anew=False)
        self._read()
        return False

    def add_key(self) -> str:
        """Add a key to the service's own file, which seals from then on; return its id. Raises `NoKey`."""
        line = sealed_texts.new_line()
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)  # of two at once neither takes the other's line away
            self._read_file()
            self._write(self.path.read_text(encoding="ascii").rstrip("\n") + "\n" + line, anew=True)
        finally:
            os.close(folder)
        return line.split()[0]

    def _write(self, content: str, *, anew: bool) -> bool:
        """Write the file and move it into place, on the disk before this returns; without `anew` an existing one stays."""
        try:
            return files.put_private(self.path, content, anew=anew)
        except OSError as error:
            raise NoKey(f"The key file {self.path} cannot be written: {error.strerror}.") from None


_WORDS = {
    "secret": "The secret",
    "next_secret": "The next secret",
    "headers": "A header's value",
    "seal_check": "What proves the key",
    "links_key": "The key of links (`almirant-webhooks token --rotate` makes another)",
}


@lru_cache(maxsize=16)
def _beside(path: Path) -> Seals:
    return Seals(path)


def beside(database_path: Path) -> Seals:
    """Return what seals with the service's own file, which is beside the database, with links followed."""
    return _beside(Path(f"{database_path.resolve()}{ENDING}"))


def of(settings: Settings) -> Seals:
    """Return what seals by the settings."""
    given, is_on = settings.secrets.key_file, settings.secrets.seal
    if (given, is_on) in _read_before:
        return _read_before[given, is_on]
    path = Path(given) if given else Path(f"{settings.database.path.resolve()}{ENDING}")
    return Seals(path, is_on=is_on, is_own=not given)


_read_before: dict[tuple[str, bool], Seals] = {}


def read_before_the_user_changes(settings: Settings) -> None:
    """Read a key file of `secrets.key_file`, so that `of` has its keys when this user may not read it any more.

    What is wrong with the file is said when a key is needed.
    """
    if settings.secrets.key_file:
        seals = of(settings)
        seals.read_now()
        _read_before[settings.secrets.key_file, seals.is_on] = seals
