"""Why a request got no answer: an outcome and a short cause in plain words.

A cause goes into log lines, so it never holds what a receiver sent: that may be our own request, secret path and all.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from typing import NamedTuple

from ..model import Outcome
from ..rules.urls import BLOCKED, Blocked
from .own_faults import own_fault
from .proxy_answers import NoTunnel

NAME_NOT_FOUND = "the host name was not found"
NO_NAME_SERVER = "no name server gave an answer"
NO_DNS_ANSWER = "no answer from DNS"  # within the time limit
NO_ANSWER = "no answer"  # within the time limit
NO_ROUTE = "no route to the host"
NOT_MADE = "the request could not be made"
STALE = "a kept connection was closed before an answer"
CLOSED_WITHIN = "the connection closed within the answer"
NOT_HTTP = "the answer is not HTTP"
HTTP_2 = "the receiver answered in HTTP/2, although it was asked in HTTP/1.1"
TLS_ANSWER = "the receiver answered with TLS to a request without it"
NO_HTTP = frozenset({NOT_HTTP, HTTP_2, TLS_ANSWER})
NOT_SECURE = "TLS: the connection closed before it was secure"
OUT_OF_FILES = frozenset({errno.EMFILE, errno.ENFILE})
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
    "TLSV1_ALERT_NO_APPLICATION_PROTOCOL": "the receiver does not speak HTTP/1.1",
}
_UNKNOWN_ISSUER = "its issuer is not known, or the receiver does not send the whole chain"
_OTHER_NAME = 62  # OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH
_CERTIFICATE_WORDS = {  # by OpenSSL's verify code
    2: _UNKNOWN_ISSUER,
    9: "it is not valid yet",
    10: "it has expired",
    18: "it is self-signed",
    19: _UNKNOWN_ISSUER,
    20: _UNKNOWN_ISSUER,
    21: _UNKNOWN_ISSUER,
    _OTHER_NAME: "it is for another host name",
    64: "it is for another address",
}


class Failure(NamedTuple):
    """The end of a request without an answer; `seen` has the first bytes of what could not be read as one."""

    outcome: Outcome
    cause: str
    seen: bytes = b""


class NotSecure(OSError):
    """A connection that closed while TLS was being agreed on."""


def wrong_name() -> ssl.SSLCertVerificationError:
    """Return OpenSSL's error for a certificate of another host."""
    error = ssl.SSLCertVerificationError("the certificate is for another host name")
    error.verify_code = _OTHER_NAME
    return error


def classify_error(error: Exception) -> Failure:
    """Return the outcome and the cause for an error before the request was sent."""
    if isinstance(error, NoTunnel):
        return Failure(error.outcome, error.cause)
    if isinstance(error, TimeoutError) and error.errno is None:  # ours, not the system's
        return Failure(Outcome.TIMEOUT, NO_ANSWER)
    if isinstance(error, Blocked):
        return Failure(Outcome.BLOCKED, BLOCKED)
    if (fault := own_fault(error)) is not None:
        return Failure(Outcome.INTERRUPTED, fault)
    if isinstance(error, socket.gaierror):
        unanswered = error.errno == socket.EAI_AGAIN
        return Failure(Outcome.CONNECTION_ERROR, NO_NAME_SERVER if unanswered else NAME_NOT_FOUND)
    if isinstance(error, NotSecure):
        return Failure(Outcome.CONNECTION_ERROR, NOT_SECURE)
    if isinstance(error, OSError) and (error.errno is not None or isinstance(error, ssl.SSLError)):
        return classify_loss(error)
    return Failure(Outcome.CONNECTION_ERROR, "no connection" if isinstance(error, OSError) else NOT_MADE)


def classify_loss(error: Exception | None) -> Failure:
    """Return the outcome and the cause for a connection that ended before the first byte of an answer."""
    if isinstance(error, ssl.SSLError):
        return Failure(Outcome.CONNECTION_ERROR, f"TLS: {_tls_words(error)}")
    number = error.errno if isinstance(error, OSError) else None
    if (fault := own_fault(error)) is not None:
        return Failure(Outcome.INTERRUPTED, fault)
    if number is None:
        return Failure(Outcome.CONNECTION_ERROR, "connection closed before an answer")
    return Failure(Outcome.CONNECTION_ERROR, _ERRNO_WORDS.get(number) or os.strerror(number).lower())


def is_usual_end(error: Exception | None) -> bool:
    """Return whether a receiver closed the connection as it closes an idle one."""
    number = error.errno if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) else None
    return number in (None, errno.ECONNRESET, errno.EPIPE)


def forget_frames(error: BaseException | None) -> None:
    """Drop the traceback of an error and of its causes.

    Its frames hold the connection, which holds the error. Without this the buffers of each failed attempt stay in memory
    until the garbage collector runs, which can take minutes.
    """
    for _ in range(10):  # a chain of causes may be a ring
        if error is None:
            return
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def _tls_words(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = _CERTIFICATE_WORDS.get(error.verify_code) or error.verify_message.rstrip(".") or "verifying it failed"
        return f"the certificate was not accepted: {reason}"
    return _TLS_WORDS.get(error.reason or "", "no secure connection could be agreed on")
