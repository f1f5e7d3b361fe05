"""The operator's token and the key that signs links and sessions, in a file beside the database (contract, section 7)."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from pathlib import Path
from typing import Protocol

from ..model import Misconfigured
from ..settings.schema import Settings
from . import files

ENDING = ".keys"


def path_of(database_path: Path) -> Path:
    """Return the path of the file: beside the database, with links followed."""
    return Path(f"{database_path.resolve()}{ENDING}")


def ensure(database_path: Path) -> bool:
    """Create the file (0600) unless it exists; return whether it was created. Raises `Misconfigured`."""
    path = path_of(database_path)
    return not path.exists() and _write(path, anew=False)


def rotate(database_path: Path) -> None:
    """Replace the token and the key by new ones, which ends all sessions and links. Raises `Misconfigured`."""
    _write(path_of(database_path), anew=True)


def _write(path: Path, *, anew: bool) -> bool:
    """Write a new file and move it into place atomically; without `anew` an existing file stays."""
    content = json.dumps({"token": new_token(), "signing_key": secrets.token_hex(32)}) + "\n"
    try:
        return files.put_private(path, content, anew=anew)
    except OSError as error:
        raise Misconfigured(f"{path} cannot be written: {error.strerror}.") from None


class OperatorKeys(Protocol):
    """What opens everything, and what signs links and sessions."""

    @property
    def signing_key(self) -> bytes:
        """The key that signs links and sessions. It depends on the token: a new token ends them too."""

    def is_token(self, text: str) -> bool:
        """Tell whether a text is the operator's token."""


class StoredKeys:
    """Those of a table, read by whoever has a session: of the token its digest alone is kept. Used by any thread."""

    def __init__(self, configured: str) -> None:
        self._digest = _digest(configured) if configured else ""
        self._is_configured = bool(configured)
        self._signing_key = b""
        self._nobodys = secrets.token_bytes(32)

    @property
    def signing_key(self) -> bytes:
        """The key that signs links and sessions."""
        return self._signing_key

    def is_token(self, text: str) -> bool:
        """Tell whether a text is the operator's token: `admin.token` if it is configured, else the one that was made."""
        return bool(self._digest) and hmac.compare_digest(_digest(text), self._digest)

    def learn(self, digest: str, key: str | None) -> None:
        """Take over what the table has: the token's SHA-256, and the key, both in hexadecimal.

        The key is None where it cannot be opened: it may be another one then, and nothing that was signed is taken any more.
        """
        if not self._is_configured:
            self._digest = digest
        raw = self._nobodys if key is None else bytes.fromhex(key)
        self._signing_key = hmac.digest(raw, self._digest.encode(), hashlib.sha256)


def new_token() -> str:
    """Return a token that nobody can guess."""
    return f"awt_{secrets.token_urlsafe(32)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class Keys:
    """The current token and signing key. The file is read again whenever it has changed; raises `Misconfigured`."""

    def __init__(self, settings: Settings) -> None:
        self._path = path_of(settings.database.path)
        self._configured = settings.admin.token
        self._seen: tuple[int, int] | None = None
        self._token = ""
        self._signing_key = b""

    @property
    def token(self) -> str:
        """The operator's token: `admin.token` if it is configured, else the generated one."""
        self._read()
        return self._token

    def is_token(self, text: str) -> bool:
        """Tell whether a text is the operator's token."""
        return hmac.compare_digest(_digest(text), _digest(self.token))

    @property
    def signing_key(self) -> bytes:
        """The key that signs links and sessions. It depends on the token: a new token ends them too."""
        self._read()
        return self._signing_key

    def _read(self) -> None:
        try:
            status = os.stat(self._path)
            if (status.st_mtime_ns, status.st_ino) == self._seen:
                return
            content = json.loads(self._path.read_text(encoding="ascii"))
            token, key = self._configured or str(content["token"]), bytes.fromhex(content["signing_key"])
        except OSError as error:
            raise Misconfigured(
                f"{self._path} cannot be read ({error.strerror}); `almirant-webhooks migrate` makes it where it is missing."
            ) from None
        except (ValueError, KeyError, TypeError):
            raise Misconfigured(
                f"{self._path} is damaged; make it anew with `almirant-webhooks token --rotate`."
            ) from None
        self._seen = status.st_mtime_ns, status.st_ino
        self._token, self._signing_key = token, hmac.digest(key, token.encode(), hashlib.sha256)
