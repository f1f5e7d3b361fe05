"""Bodies of requests: their type and their compression, each refused in words where it is not read."""

from __future__ import annotations

import gzip
import json
import zlib

import pytest

from .test_api import Api, api

__all__ = ["api"]

EVENT = json.dumps({"project_id": "proj_1", "event_type": "lead.created", "payload": {}}).encode()


async def post(
    api: Api, body: bytes, content_type: str | None = "application/json", path: str = "/api/v1/events", **headers: str
) -> tuple[int, dict[str, str], dict[str, object]]:
    """Send a body as it is; return status, headers and the answer."""
    sent = {**api.operator(), **headers} | ({} if content_type is None else {"Content-Type": content_type})
    skipped = ("Content-Type",) if content_type is None else ()
    async with api.client.post(path, data=body, headers=sent, skip_auto_headers=skipped) as answer:
        return answer.status, dict(answer.headers), await answer.json(content_type=None)


@pytest.mark.parametrize("coding", ["br", "zstd", "compress", "gzip, br", "gzip, gzip", "\xff"])
async def test_a_compression_that_is_not_known_is_a_problem_that_names_those_that_are(api: Api, coding: str) -> None:
    """415 with `Accept-Encoding`, and the connection goes on."""
    status, headers, problem = await post(api, b"\x28\xb5\x2f\xfd", **{"Content-Encoding": coding})
    assert (status, headers["Content-Type"].split(";")[0]) == (415, "application/problem+json")
    assert (problem["code"], headers["Accept-Encoding"]) == ("unsupported_media_type", "gzip, deflate")
    assert (await post(api, EVENT))[0] == 202


def raw_deflate(body: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(body) + stream.flush()


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(EVENT)),
        ("X-GZip", gzip.compress(EVENT)),
        ("deflate", zlib.compress(EVENT)),
        ("deflate", raw_deflate(EVENT)),
        ("identity", EVENT),
        ("gzip", b""),
    ],
    ids=["gzip", "x-gzip", "deflate", "deflate without a head", "identity", "empty"],
)
async def test_a_compressed_body_is_read(api: Api, coding: str, body: bytes) -> None:
    """By gzip and deflate, in either form of the latter; an empty body is one that was left out."""
    status, _, answer = await post(api, body, **{"Content-Encoding": coding})
    assert (status, answer.get("field")) == ((202, None) if body else (422, "event_type"))


@pytest.mark.parametrize(
    "body", [b"no gzip", gzip.compress(EVENT)[:-9], gzip.compress(EVENT) + b"more"], ids=["none", "cut", "more"]
)
async def test_a_body_that_is_not_compressed_as_it_says_is_a_problem(api: Api, body: bytes) -> None:
    status, headers, problem = await post(api, body, **{"Content-Encoding": "gzip"})
    assert (status, headers["Content-Type"].split(";")[0]) == (400, "application/problem+json")
    assert problem["detail"] == "The body cannot be read: it is not encoded as its headers say, or ends early."


async def test_a_body_that_grows_beyond_a_megabyte_is_refused_before_it_has(api: Api) -> None:
    """A hundred megabytes of one letter are a hundred kilobytes by gzip."""
    bomb = gzip.compress(b'{"a": "' + b"x" * 100_000_000 + b'"}', compresslevel=9)
    status, _, problem = await post(api, bomb, **{"Content-Encoding": "gzip"})
    assert (status, problem["code"]) == (413, "body_too_large")


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "application/xml", "multipart/form-data; boundary=x", "json"],
)
async def test_a_body_of_another_type_than_json_is_refused(api: Api, content_type: str) -> None:
    """415, in a problem; nothing is made of it."""
    status, _, problem = await post(api, EVENT, content_type)
    assert (status, problem["code"]) == (415, "unsupported_media_type")
    assert problem["detail"] == "The body must be JSON: send it with Content-Type: application/json."
    assert api.service.ask("SELECT count(*) FROM outbox") == (0,)


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/json; charset=utf-8", "Application/Problem+JSON", None]
)
async def test_json_by_any_of_its_types_is_read(api: Api, content_type: str | None) -> None:
    """And a body that says nothing of its type."""
    assert (await post(api, EVENT, content_type))[0] == 202


async def test_a_request_without_a_body_may_say_any_type(api: Api) -> None:
    webhook = api.service.webhook("https://example.com/in")
    path = f"/api/v1/webhooks/{webhook.id}/disable"
    assert (await post(api, b"", "text/plain", path))[0] == 200


async def test_a_form_that_is_compressed_is_refused(api: Api) -> None:
    """No browser sends one."""
    headers = {**api.admin("proj_1"), "Content-Encoding": "gzip", "Content-Type": "application/x-www-form-urlencoded"}
    async with api.client.post("/webhooks", data=gzip.compress(b"url=x"), headers=headers) as answer:
        assert answer.status == 415
