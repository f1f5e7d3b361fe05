"""The client's requests, each on a connection of its own."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection, HTTPSConnection
from typing import Any
from urllib.parse import quote, urlencode, urlsplit


class ApiError(Exception):
    """The service has refused: an RFC 9457 problem. `field` is what is wrong, `errors` the sentence of each wrong field."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.code: str = problem.get("code", "")
        self.detail: str = problem.get("detail", "")
        self.field: str | None = problem.get("field")
        self.errors = {str(error["field"]): str(error["detail"]) for error in problem.get("errors", ())}
        super().__init__(f"{status} {self.code}: {self.detail}")


class Caller:
    """Makes requests to the API at one address with one token; any number of threads may share it."""

    def __init__(self, address: str, token: str, timeout: float) -> None:
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("The address is http:// or https:// and a host, as http://127.0.0.1:8420.")
        self._address, self._path, self._timeout = parts, parts.path.rstrip("/"), timeout
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "application/json", "Connection": "close"}

    def pages(self, path: str, query: Mapping[str, Any]) -> Iterator[Any]:
        """Yield the items of a list, over all its pages."""
        cursor: str | None = None
        while True:
            page = self.call("GET", path, query={**query, "cursor": cursor})
            yield from page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def post(
        self, path: str, body: Mapping[str, Any], idempotency_key: str | None = None, if_match: str | None = None
    ) -> Any:
        """Make a request that changes something; with a key it can be made again, and is carried out once."""
        return self.call("POST", path, body, idempotency_key=idempotency_key, if_match=if_match)

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
        if_match: str | None = None,
    ) -> Any:
        """Make one request; return what its answer's JSON says, an object with the `etag` that it has; None for nothing."""
        given = {
            name: str(value).lower() if isinstance(value, bool) else value for name, value in (query or {}).items()
        }
        words = urlencode({name: value for name, value in given.items() if value is not None})
        url_path = f"{self._path}/api/v1{path}" + (f"?{words}" if words else "")
        connection = self._connection()
        kind = None if body is None else "application/json"
        told = {"Content-Type": kind, "Idempotency-Key": idempotency_key, "If-Match": if_match}
        headers = {**self._headers, **{name: value for name, value in told.items() if value is not None}}
        try:
            connection.request(method, url_path, None if body is None else json.dumps(body).encode(), headers)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        return _read(answer.status, text, answer.headers["ETag"])

    def _connection(self) -> HTTPConnection:
        host, port = self._address.hostname or "", self._address.port
        if self._address.scheme == "http":
            return HTTPConnection(host, port, timeout=self._timeout)
        tls = ssl.create_default_context()
        # The same on every Python, and as strict as the service is towards receivers (`sending.tls`).
        tls.verify_flags = ssl.VERIFY_X509_TRUSTED_FIRST | ssl.VERIFY_X509_PARTIAL_CHAIN
        return HTTPSConnection(host, port, timeout=self._timeout, context=tls)


def at(*words: str) -> str:
    """Return the path of what has an id, whatever characters that has."""
    return "".join(f"/{quote(word, safe='')}" for word in words)


def given(**fields: Any) -> dict[str, Any]:
    """Return the fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def _read(status: int, text: bytes, etag: str | None) -> Any:
    """Return what an answer says; raises `ApiError` for one that is no success."""
    try:
        said = json.loads(text) if text else None
    except ValueError:
        said = None
    if 200 <= status < 300:
        return {**said, "etag": etag} if etag and isinstance(said, dict) else said
    raise ApiError(status, said if isinstance(said, dict) else {"detail": text[:200].decode("utf-8", "replace")})
