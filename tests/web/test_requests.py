"""How the API takes a request and says what is wrong with it, whatever the route."""

from __future__ import annotations

import pytest

from almirant_webhooks.web.api import ROUTES

from .test_api import Api, api

__all__ = ["api"]

URL = "https://example.com/in"


async def test_a_problem_has_a_code_and_names_every_field_that_is_wrong(api: Api) -> None:
    """In our own words; the first is in `detail` and `field` too."""
    body = {"url": 5, "events": ["*", None], "description": "", "odd": 1}
    status, problem = await api.call("POST", "/api/v1/webhooks", None, body)
    assert (status, problem["code"]) == (422, "invalid_field")
    wrong = {error["field"]: error["detail"] for error in problem["errors"]}
    assert list(wrong) == ["url", "events.1", "odd"]
    assert wrong["url"] == problem["detail"] == "url must be a text."
    assert wrong["events.1"] == "events.1 cannot be null."
    assert "There is no parameter 'odd'" in wrong["odd"]
    status, problem = await api.call("POST", "/api/v1/webhooks", None, {"project_id": "proj_1"})
    assert [error["detail"] for error in problem["errors"]] == ["url is missing.", "events is missing."]
    status, problem = await api.call(
        "POST", "/api/v1/webhooks", None, {"project_id": "proj_1", "url": "ftp://x", "events": ["led.*"]}
    )
    assert [error["field"] for error in problem["errors"]] == ["url", "events"]


@pytest.mark.parametrize(
    ("field", "value", "wrong", "words"),
    [
        ("url", 5, "url", "must be a text"),
        ("events", "lead.*", "events", "must be a list"),
        ("events", [1], "events.0", "must be a text"),
        ("secret", True, "secret", "must be a text"),
        ("description", [], "description", "must be a text"),
        ("concurrency", "5", "concurrency", "must be a whole number"),
        ("rate_limit", 5, "rate_limit", "must be a text"),
    ],
)
async def test_a_change_of_the_wrong_type_names_the_field_once(
    api: Api, field: str, value: object, wrong: str, words: str
) -> None:
    """As creating does, and nothing is changed."""
    path = f"/api/v1/webhooks/{api.service.webhook(URL).id}"
    _, before = await api.call("GET", path)
    status, problem = await api.call("PATCH", path, None, {field: value})
    assert status == 422
    assert [(error["field"], error["detail"]) for error in problem["errors"]] == [(wrong, f"{wrong} {words}.")]
    assert await api.call("GET", path) == (200, before)


@pytest.mark.parametrize("body", [{"events": [1] * 100_000}, {f"field{number}": 1 for number in range(50_000)}])
async def test_a_body_with_very_many_faults_is_answered_in_few_words(api: Api, body: dict[str, object]) -> None:
    """A sentence for each would be many megabytes, made on the loop that delivers."""
    path = f"/api/v1/webhooks/{api.service.webhook(URL).id}"
    status, problem = await api.call("PATCH", path, None, body)
    assert (status, len(problem["errors"])) == (422, 1)


async def test_each_kind_of_problem_has_a_code_of_its_own(api: Api) -> None:
    """Programs need not read sentences."""
    assert (await api.call("GET", "/api/v1/webhooks/wh_1"))[1]["code"] == "not_found"
    assert (await api.call("GET", "/api/v1/webhooks", {}))[1]["code"] == "unauthorized"
    assert (await api.call("PUT", "/api/v1/webhooks"))[1]["code"] == "method_not_allowed"
    assert (await api.call("POST", "/api/v1/webhooks", None, b"{"))[1]["code"] == "invalid_field"


@pytest.mark.parametrize("field", ["url", "events", "secret", "description"])
async def test_null_is_refused_where_a_field_cannot_be_null(api: Api, field: str) -> None:
    """It was taken for a field that is left out; nothing is changed."""
    path = f"/api/v1/webhooks/{api.service.webhook(URL).id}"
    _, before = await api.call("GET", path)
    status, problem = await api.call("PATCH", path, None, {"description": "new", field: None})
    assert (status, problem["detail"]) == (422, f"{field} cannot be null; leave it out.")
    assert await api.call("GET", path) == (200, before)


async def test_head_answers_as_get_does_without_the_body(api: Api) -> None:
    """But for a GET that is written down: nobody sees the secret of a HEAD."""
    webhook = api.service.webhook(URL).id
    for route in ROUTES:
        if route.method != "GET":
            continue
        path = route.path.replace("{id}", webhook)
        async with api.client.get(path, headers=api.operator()) as answer:
            whole = await answer.read()
            expected = (answer.status, answer.content_type, len(whole), answer.headers.get("ETag"))
        async with api.client.head(path, headers=api.operator()) as answer:
            length = int(answer.headers["Content-Length"])
            got = (answer.status, answer.content_type, length, answer.headers.get("ETag"))
            assert await answer.read() == b""
        assert got == expected or (route.writes and got[0] == 405), path
