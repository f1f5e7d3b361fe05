"""Why a request got no answer: an error of the connection as an outcome and a short cause in plain words."""

from __future__ import annotations

import errno
import os
import socket
import ssl

import aiohttp

from .answers import AnswerRefused
from .egress import BLOCKED, Blocked
from .model import Outcome

NAME_NOT_FOUND = "the host name was not found"
NO_NAME_SERVER = "no name server gave an answer"
NO_DNS_ANSWER = "no answer from DNS"  # within the time limit
NO_ROUTE = "no route to the host"
STALE = "a kept connection was closed before an answer"
_ERRNO_WORDS = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.EPIPE: "connection reset",
    errno.ENETUNREACH: NO_ROUTE,
    errno.EHOSTUNREACH: NO_ROUTE,
    errno.ENETDOWN: NO_ROUTE,
    errno.ETIMEDOUT: "connecting took too long",
}


def explain(error: Exception, *, reused: bool) -> tuple[Outcome, str]:
    """Turn an error of the connection into an outcome and a short cause in plain words."""
    inner = getattr(error, "os_error", None)
    if isinstance(inner, Blocked) or isinstance(error, Blocked):
        return Outcome.BLOCKED, BLOCKED
    if isinstance(error, AnswerRefused):
        return Outcome.CONNECTION_ERROR, str(error)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        unanswered = getattr(inner, "errno", None) == socket.EAI_AGAIN
        return Outcome.CONNECTION_ERROR, NO_NAME_SERVER if unanswered else NAME_NOT_FOUND
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return Outcome.CONNECTION_ERROR, f"TLS: {_certificate_words(error.certificate_error)}"
    if isinstance(error, (aiohttp.ClientConnectorSSLError, ssl.SSLError)):
        return Outcome.CONNECTION_ERROR, "TLS: no secure connection could be agreed on"
    if isinstance(error, aiohttp.ClientConnectorError) and error.errno is None:
        return Outcome.CONNECTION_ERROR, "TLS: the connection closed before it was secure"
    if isinstance(error, aiohttp.ClientConnectorError):
        return Outcome.CONNECTION_ERROR, _errno_words(error.errno)
    if isinstance(error, aiohttp.ServerDisconnectedError) or (
        isinstance(error, OSError) and error.errno in (None, errno.ECONNRESET, errno.EPIPE)
    ):
        if reused:
            return Outcome.INTERRUPTED, STALE
        closed = isinstance(error, aiohttp.ServerDisconnectedError) or error.errno is None
        return Outcome.CONNECTION_ERROR, "connection closed before an answer" if closed else "connection reset"
    if isinstance(error, (aiohttp.ClientResponseError, aiohttp.ClientPayloadError)):
        return Outcome.CONNECTION_ERROR, "the answer is not valid HTTP, or has too long or too many headers"
    if isinstance(error, OSError):
        return Outcome.CONNECTION_ERROR, _errno_words(error.errno)
    return Outcome.CONNECTION_ERROR, "the request could not be made"


def _errno_words(number: int | None) -> str:
    return _ERRNO_WORDS.get(number or 0) or (os.strerror(number).lower() if number else "no connection")


def _certificate_words(error: Exception) -> str:
    words = str(getattr(error, "verify_message", "") or "").rstrip(".")
    return f"the certificate was not accepted ({words})" if words else "the certificate was not accepted"
