"""Errors as answers: RFC 9457 problem documents for programs, a page with a sentence for people."""

from __future__ import annotations

import json
from http import HTTPStatus

import structlog
from aiohttp import web

from ..model import Conflict, Misconfigured, NotFound, Outdated, Refused
from ..rules.texts import Text
from ..storage.engine import Busy, Slow, StorageError, Unconfirmed
from .bodies import BROKEN
from .context import context
from .guard import Handler

# What programs go by; `docs/api.md` lists them.
CODES = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    409: "conflict",
    412: "changed_meanwhile",
    413: "body_too_large",
    415: "unsupported_media_type",
    421: "unknown_host",
    422: "invalid_field",
    429: "too_many_wrong_tokens",
    500: "internal_error",
    503: "database_unavailable",
}
_TYPE = "urn:almirant-webhooks:problem:"  # a name, which leads nowhere
_WORDS = (
    (Slow, Text("The database takes too long at the moment; nothing was changed. Try again.")),
    (Busy, Text("The database is locked by another program at the moment; nothing was changed. Try again.")),
)
_UNUSABLE = Text("The database cannot be used at the moment; nothing was changed. Try again.")
TYPES = tuple(f"{_TYPE}{code}" for code in CODES.values())

log = structlog.get_logger("almirant_webhooks")


@web.middleware
async def error_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every error in a sentence: 404 not found, 422 a bad field, 409 refused, 503 a busy database."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        answer = await _answer(request, error.status, error.text or HTTPStatus(error.status).phrase)
        for name in ("Accept-Encoding", "Allow", "Retry-After", "WWW-Authenticate"):
            if name in error.headers:
                answer.headers[name] = error.headers[name]
        return answer
    except Refused as error:
        return await _answer(request, _status(error), error.message, error)
    except (web.RequestPayloadError, ConnectionError):
        return await _answer(request, 400, BROKEN)
    except Unconfirmed as error:
        log.warning("request failed", path=_route(request), error=str(error))
        return await _answer(request, 503, str(error.explained("the database")))
    except StorageError as error:
        log.warning("request failed", path=_route(request), error=str(error))
        words = next((words for kind, words in _WORDS if isinstance(error, kind)), _UNUSABLE)
        return await _answer(request, 503, words)
    except Misconfigured as error:
        log.warning("request failed", path=_route(request), error=str(error))
        return await _answer(request, 503, Text("The service's key cannot be used at the moment; nothing was changed."))
    except Exception:
        log.exception("request failed", path=_route(request))
        return await _answer(request, 500, Text("Something went wrong here; it is in the service's log."))


def _status(refused: Refused) -> int:
    for kind, status in ((NotFound, 404), (Conflict, 409), (Outdated, 412)):
        if isinstance(refused, kind):
            return status
    return 422 if refused.field else 409


def problem(status: int, detail: str, refused: Refused | None = None) -> web.Response:
    """Return an RFC 9457 document; `type` and `code` are for programs, `field` names the offending one, `errors` all of them."""
    code = CODES.get(status, "bad_request")
    document: dict[str, object] = {
        "type": f"{_TYPE}{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
    }
    if refused is not None and refused.field is not None:
        document["field"] = refused.field
        document["errors"] = [{"field": each.field, "detail": each.message} for each in (refused, *refused.others)]
    return web.Response(text=json.dumps(document), status=status, content_type="application/problem+json")


async def _answer(request: web.Request, status: int, detail: str, refused: Refused | None = None) -> web.StreamResponse:
    page = context(request).error_page
    if page is None or request.path.startswith("/api/"):
        return problem(status, detail, refused)
    return await page(request, status, detail)


def _route(request: web.Request) -> str:
    """Name the route, not the path: ids and links stay out of the log."""
    resource = request.match_info.route.resource
    return resource.canonical if resource else "(no route)"
