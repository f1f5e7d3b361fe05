"""Why a request got no answer: an error of the connection as an outcome and a short cause in plain words."""

from __future__ import annotations

import errno
import os
import socket
import ssl

import aiohttp
from aiohttp.http import HttpProcessingError

from .answers import AnswerRefused
from .egress import BLOCKED, Blocked
from .model import Outcome

NAME_NOT_FOUND = "the host name was not found"
NO_NAME_SERVER = "no name server gave an answer"
NO_DNS_ANSWER = "no answer from DNS"  # within the time limit
NO_ROUTE = "no route to the host"
NO_FILES = "the daemon has too many files open"
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
_OLD_TLS = "the receiver does not speak TLS 1.2 or newer"
_TLS_WORDS = {  # by OpenSSL's reason
    "TLSV1_ALERT_PROTOCOL_VERSION": _OLD_TLS,
    "UNSUPPORTED_PROTOCOL": _OLD_TLS,
    "WRONG_VERSION_NUMBER": "the receiver answered with something else than TLS",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the receiver asks for a client certificate",
}
_UNKNOWN_ISSUER = "its issuer is not known, or the receiver does not send the whole chain"
_CERTIFICATE_WORDS = {  # by OpenSSL's verify code
    2: _UNKNOWN_ISSUER,
    9: "it is not valid yet",
    10: "it has expired",
    18: "it is self-signed",
    19: _UNKNOWN_ISSUER,
    20: _UNKNOWN_ISSUER,
    21: _UNKNOWN_ISSUER,
    62: "it is for another host name",
    64: "it is for another address",
}


def explain(error: Exception, *, reused: bool) -> tuple[Outcome, str]:
    """Turn an error of the connection into an outcome and a short cause in plain words."""
    inner = getattr(error, "os_error", None)
    if isinstance(inner, Blocked) or isinstance(error, Blocked):
        return Outcome.BLOCKED, BLOCKED
    if isinstance(error, AnswerRefused):
        return Outcome.CONNECTION_ERROR, str(error)
    if getattr(inner or error, "errno", None) in (errno.EMFILE, errno.ENFILE):
        return Outcome.INTERRUPTED, NO_FILES
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        unanswered = getattr(inner, "errno", None) == socket.EAI_AGAIN
        return Outcome.CONNECTION_ERROR, NO_NAME_SERVER if unanswered else NAME_NOT_FOUND
    if not reused and (words := _tls_words(error)):
        return Outcome.CONNECTION_ERROR, f"TLS: {words}"
    if isinstance(error, aiohttp.ClientConnectorError) and error.errno is None:
        return Outcome.CONNECTION_ERROR, "TLS: the connection closed before it was secure"
    if isinstance(error, aiohttp.ClientConnectorError):
        return Outcome.CONNECTION_ERROR, _errno_words(error.errno)
    if isinstance(error, (aiohttp.ServerDisconnectedError, aiohttp.EofStream)) or (
        isinstance(error, OSError) and error.errno in (None, errno.ECONNRESET, errno.EPIPE)
    ):
        if reused:
            return Outcome.INTERRUPTED, STALE
        closed = not isinstance(error, OSError) or error.errno is None
        return Outcome.CONNECTION_ERROR, "connection closed before an answer" if closed else "connection reset"
    if isinstance(error, (HttpProcessingError, aiohttp.ClientPayloadError)):
        return Outcome.CONNECTION_ERROR, "the answer is not valid HTTP, or has too long or too many headers"
    if isinstance(error, OSError):
        return Outcome.CONNECTION_ERROR, _errno_words(error.errno)
    return Outcome.CONNECTION_ERROR, "the request could not be made"


def _errno_words(number: int | None) -> str:
    return _ERRNO_WORDS.get(number or 0) or (os.strerror(number).lower() if number else "no connection")


def _tls_words(error: Exception) -> str | None:
    """Word an error of TLS, which comes alone, wrapped, or as the cause of another; None when it is none."""
    for found in (getattr(error, "os_error", None), error.__cause__, error):
        if isinstance(found, ssl.SSLCertVerificationError):
            why = _CERTIFICATE_WORDS.get(found.verify_code) or found.verify_message.rstrip(".") or "verifying it failed"
            return f"the certificate was not accepted: {why}"
        if isinstance(found, ssl.SSLError):
            return _TLS_WORDS.get(found.reason or "", "no secure connection could be agreed on")
    return None
