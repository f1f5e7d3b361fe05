"""Sealed texts: AES-256-GCM, bound to the webhook and the field that they belong to (contract, section 4: secrets at rest).

A sealed text is `sealed:v1:ID:BASE64`: the id of its key, and the base64 of a nonce of 12 bytes and what was encrypted.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from functools import lru_cache
from secrets import token_bytes, token_hex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PREFIX = "sealed:v1:"
KEY_BYTES = 32
_NONCE_BYTES = 12
_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,32}")


class NotOpened(Exception):
    """A text that cannot be opened; its words say why, and have nothing of the text."""


class UnknownKey(NotOpened):
    """It was sealed with a key that is not there."""


def new_line() -> str:
    """Return the line of a new key, `ID BASE64`."""
    return f"{token_hex(4)} {base64.b64encode(token_bytes(KEY_BYTES)).decode()}\n"


def parse(text: str) -> dict[str, bytes]:
    """Return the keys of a key file by their ids, in its order; raises `ValueError` with what is wrong in words."""
    keys: dict[str, bytes] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        words = line.split()
        if len(words) != 2 or not _KEY_ID.fullmatch(words[0]):
            raise ValueError(f"line {number} is not an id and a key in base64, as in `k1 BASE64`")
        key_id, encoded = words
        try:
            key = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            raise ValueError(f"the key in line {number} is not whole base64") from None
        if len(key) != KEY_BYTES:
            raise ValueError(f"the key in line {number} has {len(key)} bytes, and must have {KEY_BYTES}")
        if key_id in keys:
            raise ValueError(f"the id in line {number} is that of an earlier line")
        keys[key_id] = key
    if not keys:
        raise ValueError("it has no key")
    return keys


def is_sealed(text: str) -> bool:
    """Tell whether a text is a sealed one."""
    return text.startswith(PREFIX)


def key_id_of(text: str) -> str:
    """Return the id of the key with which a text was sealed."""
    return text.removeprefix(PREFIX).partition(":")[0]


def seal(text: str, key_id: str, key: bytes, owner: str, field: str) -> str:
    """Return a text sealed for the field of its owner. Each call returns another one: the nonce is random."""
    nonce = token_bytes(_NONCE_BYTES)
    encrypted = _cipher(key).encrypt(nonce, text.encode(), _bound(key_id, owner, field))
    return f"{PREFIX}{key_id}:{base64.b64encode(nonce + encrypted).decode()}"


def open_sealed(text: str, keys: Mapping[str, bytes], owner: str, field: str) -> str:
    """Return what was sealed for the field of its owner; raises `UnknownKey`, or `NotOpened` for another one's or a changed one."""
    from cryptography.exceptions import InvalidTag

    key_id = key_id_of(text)
    if key_id not in keys:
        raise UnknownKey(f"it was sealed with the key {key_id[:32]!r}, which is not there")
    try:
        packed = base64.b64decode(text.removeprefix(PREFIX).partition(":")[2], validate=True)
        nonce, encrypted = packed[:_NONCE_BYTES], packed[_NONCE_BYTES:]
        return _cipher(keys[key_id]).decrypt(nonce, encrypted, _bound(key_id, owner, field)).decode()
    except (InvalidTag, ValueError):
        raise NotOpened(
            f"the key {key_id} does not open it: it was changed, moved here, or sealed with another key of this id"
        ) from None


def _bound(key_id: str, owner: str, field: str) -> bytes:
    return "\n".join((PREFIX, key_id, owner, field)).encode()


@lru_cache(maxsize=64)
def _cipher(key: bytes) -> AESGCM:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key)
