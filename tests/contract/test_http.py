import json
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from theater.contract import Accept, Headers, Query, Request, Response, UpgradeRequest
from theater.errors import InvalidHeader
from theater.limits import MAX_ATTACHMENT


@pytest.mark.parametrize("request_", [Request("GET", "/"), UpgradeRequest("/")])
def test_requests_can_be_made_from_little(request_: Request | UpgradeRequest) -> None:
    assert request_.path == "/"
    assert request_.parameters == {}
    assert request_.query == Query()
    assert request_.headers == Headers()
    assert request_.peer is None


def test_request_has_no_body_by_default() -> None:
    assert Request("GET", "/").body == b""


def test_upgrade_request_offers_no_subprotocol_by_default() -> None:
    assert UpgradeRequest("/").subprotocols == ()


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (Request("GET", "/"), "path"),
        (UpgradeRequest("/"), "path"),
        (Response(), "status"),
        (Accept(), "tags"),
    ],
)
def test_immutable(value: object, field: str) -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(value, field, None)


class TestResponse:
    def test_empty(self) -> None:
        response = Response()
        assert (response.status, response.headers, response.body) == (200, Headers(), b"")

    @pytest.mark.parametrize("body", ["ä", "ä".encode(), bytearray("ä".encode())])
    def test_body(self, body: str | bytes) -> None:
        response = Response(body=body)
        assert type(response.body) is bytes
        assert response.body == "ä".encode()

    @pytest.mark.parametrize("headers", [{"A": "1"}, [("A", "1")], Headers({"A": "1"})])
    def test_headers(self, headers: Headers | dict[str, str] | list[tuple[str, str]]) -> None:
        assert Response(headers=headers).headers == Headers({"a": "1"})

    @pytest.mark.parametrize("body", [5, None, ["text"]])
    def test_refuses_bodies_that_are_neither_text_nor_bytes(self, body: Any) -> None:
        with pytest.raises(TypeError, match="text or bytes"):
            Response(200, body=body)

    def test_refuses_headers(self) -> None:
        with pytest.raises(InvalidHeader):
            Response(headers={"a": "1\r\nb: 2"})

    @pytest.mark.parametrize("status", [101, 200, 404, 599])
    def test_status(self, status: int) -> None:
        assert Response(status).status == status

    @pytest.mark.parametrize("status", [-200, 0, 100, 102, 199, 600])
    def test_refuses_status(self, status: int) -> None:
        with pytest.raises(ValueError, match=f"101 or 200 to 599, not {status}"):
            Response(status)

    @pytest.mark.parametrize(("make", "kind"), [(Response.text, "text/plain"), (Response.html, "text/html")])
    def test_text_and_html(self, make: Callable[..., Response], kind: str) -> None:
        assert make("<ä>") == Response(200, {"content-type": f"{kind}; charset=utf-8"}, "<ä>".encode())
        assert make("", 404).status == 404

    def test_json(self) -> None:
        value = {"a": [1, "ä", None]}
        response = Response.json(value, 201)
        assert response.status == 201
        assert response.headers["content-type"] == "application/json"
        assert json.loads(response.body) == value
        assert Response.json(value).status == 200


class TestAccept:
    def test_empty(self) -> None:
        accept = Accept()
        assert (accept.subprotocol, accept.headers) == (None, Headers())
        assert (accept.tags, accept.attachment) == (frozenset(), None)

    def test_full(self) -> None:
        accept = Accept("chat", {"A": "1"}, ["x", "y", "x"], {"name": "Ann"})
        assert (accept.subprotocol, accept.headers) == ("chat", Headers({"a": "1"}))
        assert (accept.tags, accept.attachment) == (frozenset("xy"), {"name": "Ann"})

    def test_refuses_headers(self) -> None:
        with pytest.raises(InvalidHeader):
            Accept(headers={"a b": "1"})

    def test_refuses_tags(self) -> None:
        with pytest.raises(TypeError, match="tags must be a set or list"):
            Accept(tags="x")

    def test_refuses_attachments(self) -> None:
        with pytest.raises(ValueError, match="an attachment has at most"):
            Accept(attachment="a" * MAX_ATTACHMENT)
