import pytest

from theater.contract.fields import Headers
from theater.errors import InvalidHeader
from theater.limits import ConnectionLimits
from theater.protocol.deflate import Deflate
from theater.protocol.extensions import NOTHING, Agreed, Extension
from theater.protocol.handshake import (
    Offer,
    Opened,
    Refusal,
    accept_key,
    check_request,
    check_response,
    request_headers,
    response_headers,
)

# RFC 6455 §1.3
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

REQUEST = (
    ("host", "example.com"),
    ("upgrade", "websocket"),
    ("connection", "Upgrade"),
    ("sec-websocket-key", KEY),
    ("sec-websocket-version", "13"),
)
RESPONSE = (("upgrade", "websocket"), ("connection", "Upgrade"), ("sec-websocket-accept", ACCEPT))
NO_HEADERS = Headers()
PLAIN = ConnectionLimits(compression=False)


def changed(fields: tuple[tuple[str, str], ...], name: str, *values: str) -> Headers:
    """The fields, but with these values for one name."""
    return Headers([pair for pair in fields if pair[0] != name] + [(name, value) for value in values])


def test_the_accept_key_of_the_rfc() -> None:  # §1.3
    assert accept_key(KEY) == ACCEPT


# The server's side


def test_the_plainest_request_is_an_offer() -> None:
    assert check_request("GET", "1.1", Headers(REQUEST)) == Offer(ACCEPT, ())


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("upgrade", ["WebSocket"]),
        ("upgrade", ["h2c, websocket"]),
        ("upgrade", ["h2c", "websocket"]),
        ("connection", ["upgrade"]),
        ("connection", ["keep-alive, Upgrade"]),  # Firefox
        ("connection", ["keep-alive", "UPGRADE"]),
        ("host", [""]),
        ("host", ["[::1]:8080"]),
        ("origin", ["https://example.com"]),
        ("content-length", ["0"]),
    ],
)
def test_requests_of_other_wordings_are_offers_too(name: str, values: list[str]) -> None:
    assert check_request("GET", "1.1", changed(REQUEST, name, *values)) == Offer(ACCEPT, ())


@pytest.mark.parametrize(
    ("values", "subprotocols"),
    [
        (["chat"], ("chat",)),
        (["chat, superchat"], ("chat", "superchat")),
        (["superchat", "chat,  v1.chat"], ("superchat", "chat", "v1.chat")),
        ([""], ()),
    ],
)
def test_subprotocols_are_offered_most_wanted_first(
    values: list[str], subprotocols: tuple[str, ...]
) -> None:  # §4.1, item 10
    headers = changed(REQUEST, "sec-websocket-protocol", *values)
    assert check_request("GET", "1.1", headers) == Offer(ACCEPT, subprotocols)


@pytest.mark.parametrize("method", ["POST", "HEAD", "CONNECT", "get"])
def test_only_get_opens_a_websocket(method: str) -> None:  # §4.2.1, item 1
    refusal = check_request(method, "1.1", Headers(REQUEST))
    assert isinstance(refusal, Refusal)
    assert refusal.status == 405
    assert method in refusal.problem
    assert refusal.headers == (("allow", "GET"),)  # RFC 9110 §15.5.6


@pytest.mark.parametrize("version", ["1.0", "2", "0.9"])
def test_only_http_1_1_opens_a_websocket(version: str) -> None:  # §4.2.1, item 1
    refusal = check_request("GET", version, Headers(REQUEST))
    assert isinstance(refusal, Refusal)
    assert refusal.status == 400
    assert f"HTTP/{version}" in refusal.problem


@pytest.mark.parametrize(
    ("name", "values", "status"),
    [
        pytest.param("host", [], 400, id="§4.2.1 item 2: no host"),
        pytest.param("host", ["a", "b"], 400, id="RFC 9112 §3.2: two hosts"),
        pytest.param("upgrade", [], 426, id="§4.2.1 item 3: no upgrade"),
        pytest.param("upgrade", ["h2c"], 426, id="§4.2.1 item 3: another upgrade"),
        pytest.param("upgrade", ["websocketx"], 426, id="§4.2.1 item 3: more than the token"),
        pytest.param("connection", [], 400, id="§4.2.1 item 4: no connection"),
        pytest.param("connection", ["keep-alive"], 400, id="§4.2.1 item 4: another connection"),
        pytest.param("connection", ["xupgrade"], 400, id="§4.2.1 item 4: more than the token"),
        pytest.param("sec-websocket-version", [], 426, id="§4.2.1 item 6: no version"),
        pytest.param("sec-websocket-version", ["8"], 426, id="§4.2.1 item 6: old version"),
        pytest.param("sec-websocket-version", ["13", "13"], 426, id="§11.3.5: version twice"),
        pytest.param("sec-websocket-version", ["13, 8"], 426, id="§4.2.1 item 6: two versions"),
        pytest.param("sec-websocket-key", [], 400, id="§4.2.1 item 5: no key"),
        pytest.param("sec-websocket-key", [KEY, KEY], 400, id="§11.3.1: key twice"),
        pytest.param("sec-websocket-key", [""], 400, id="§4.2.1 item 5: empty key"),
        pytest.param("sec-websocket-key", ["AAAAAAAAAAAAAAAAAAAA"], 400, id="§4.2.1 item 5: 15 bytes"),
        pytest.param("sec-websocket-key", ["A" * 23 + "="], 400, id="§4.2.1 item 5: 17 bytes"),
        pytest.param("sec-websocket-key", [KEY[:-1]], 400, id="§4.2.1 item 5: bad padding"),
        pytest.param("sec-websocket-key", ["*" + KEY[1:]], 400, id="§4.2.1 item 5: not the alphabet"),
        pytest.param("sec-websocket-key", ["*" + KEY], 400, id="§4.2.1 item 5: more than the alphabet"),
        pytest.param("sec-websocket-key", ["é" + KEY[1:]], 400, id="§4.2.1 item 5: not ASCII"),
        pytest.param("sec-websocket-protocol", ["a, b, a"], 400, id="§4.1 item 10: twice in a field"),
        pytest.param("sec-websocket-protocol", ["a", "a"], 400, id="§4.1 item 10: twice in two fields"),
    ],
)
def test_a_faulty_request_is_refused(name: str, values: list[str], status: int) -> None:
    refusal = check_request("GET", "1.1", changed(REQUEST, name, *values))
    assert isinstance(refusal, Refusal)
    assert refusal.status == status
    spoken = name.removeprefix("sec-websocket-")
    assert spoken in refusal.problem.lower()
    assert refusal.problem.endswith(".")


@pytest.mark.parametrize(
    ("name", "value"), [("content-length", "5"), ("content-length", "x"), ("transfer-encoding", "chunked")]
)
def test_a_request_with_a_body_is_refused(name: str, value: str) -> None:
    # The body would be read as frames.
    refusal = check_request("GET", "1.1", changed(REQUEST, name, value))
    assert refusal == Refusal(400, "A request to open a WebSocket has no body.")


def test_a_wrong_version_is_told_the_right_one() -> None:  # §4.4
    refusal = check_request("GET", "1.1", changed(REQUEST, "sec-websocket-version", "8", "7"))
    assert isinstance(refusal, Refusal)
    assert ("sec-websocket-version", "13") in refusal.headers
    assert "not 8, 7" in refusal.problem


def test_a_missing_version_is_called_none() -> None:
    refusal = check_request("GET", "1.1", changed(REQUEST, "sec-websocket-version"))
    assert isinstance(refusal, Refusal)
    assert "not none" in refusal.problem


@pytest.mark.parametrize("name", ["upgrade", "sec-websocket-version"])
def test_upgrade_required_says_to_what(name: str) -> None:  # RFC 9110 §15.5.22
    refusal = check_request("GET", "1.1", changed(REQUEST, name))
    assert isinstance(refusal, Refusal)
    assert ("upgrade", "websocket") in refusal.headers


def test_the_response_is_that_of_the_rfc() -> None:  # §4.2.2, item 5
    assert response_headers(Offer(ACCEPT, ("chat", "superchat")), None, NO_HEADERS) == Headers(RESPONSE)


def test_the_response_names_the_chosen_subprotocol() -> None:
    headers = response_headers(Offer(ACCEPT, ("chat", "superchat")), "superchat", NO_HEADERS)
    assert headers == Headers((*RESPONSE, ("sec-websocket-protocol", "superchat")))


@pytest.mark.parametrize("offered", [(), ("Chat",), ("chat2",)])
def test_a_subprotocol_that_was_not_offered_cannot_be_chosen(offered: tuple[str, ...]) -> None:  # §4.2.2
    problem = response_headers(Offer(ACCEPT, offered), "chat", NO_HEADERS)
    assert problem == "the client did not offer the subprotocol 'chat'"


def test_further_fields_follow_those_of_the_handshake() -> None:
    extra = Headers([("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
    headers = response_headers(Offer(ACCEPT, ()), None, extra)
    assert headers == Headers((*RESPONSE, ("set-cookie", "a=1"), ("set-cookie", "b=2")))


@pytest.mark.parametrize(
    "name",
    [
        "Connection",
        "Upgrade",
        "Sec-WebSocket-Accept",
        "Sec-WebSocket-Protocol",
        "Sec-WebSocket-Extensions",
    ],
)
def test_the_fields_of_the_handshake_cannot_be_given(name: str) -> None:
    problem = response_headers(Offer(ACCEPT, ()), None, Headers([("x-fine", "1"), (name, "x")]))
    assert problem == f"the header {name.lower()} belongs to the handshake"


def test_the_response_says_nothing_about_a_body() -> None:  # RFC 9110 §8.6, RFC 9112 §6.1
    extra = Headers([("Content-Length", "0"), ("x-fine", "1"), ("Transfer-Encoding", "chunked")])
    assert response_headers(Offer(ACCEPT, ()), None, extra) == Headers((*RESPONSE, ("x-fine", "1")))


# The client's side


def test_the_plainest_request_of_a_client() -> None:  # §4.1
    assert request_headers("example.com", KEY, (), NO_HEADERS, PLAIN) == Headers(REQUEST)


def test_a_client_offers_its_subprotocols_in_one_field() -> None:
    headers = request_headers("example.com", KEY, ["chat", "superchat"], NO_HEADERS, PLAIN)
    assert headers == Headers((*REQUEST, ("sec-websocket-protocol", "chat, superchat")))


def test_a_client_may_replace_a_field_and_add_others() -> None:
    extra = Headers([("Host", "other"), ("Cookie", "a=1"), ("Authorization", "Basic eDp5")])
    headers = request_headers("example.com", KEY, (), extra, PLAIN)
    assert headers.get_all("host") == ["other"]
    assert headers["cookie"] == "a=1"
    assert headers["authorization"] == "Basic eDp5"
    assert len(headers) == len(REQUEST) + 2


def test_a_header_cannot_be_smuggled_into_the_request() -> None:
    with pytest.raises(InvalidHeader):
        request_headers("example.com\r\nx: y", KEY, (), NO_HEADERS, PLAIN)


@pytest.mark.parametrize("subprotocols", [(), ("chat", "superchat")])
def test_our_server_understands_our_client(subprotocols: tuple[str, ...]) -> None:
    headers = request_headers("example.com", KEY, subprotocols, NO_HEADERS, PLAIN)
    offer = check_request("GET", "1.1", headers)
    assert offer == Offer(ACCEPT, subprotocols)
    chosen = subprotocols[-1] if subprotocols else None
    answer = response_headers(offer, chosen, NO_HEADERS)
    assert isinstance(answer, Headers)
    assert check_response(101, answer, KEY, subprotocols, PLAIN) == Opened(chosen, NOTHING)


def test_the_plainest_response_agrees_on_no_subprotocol() -> None:
    assert check_response(101, Headers(RESPONSE), KEY, ("chat",), PLAIN) == Opened(None, NOTHING)


@pytest.mark.parametrize(
    ("name", "value"),
    [("upgrade", "WebSocket"), ("connection", "keep-alive, upgrade"), ("sec-websocket-extensions", "")],
)
def test_responses_of_other_wordings_are_fine_too(name: str, value: str) -> None:
    assert check_response(101, changed(RESPONSE, name, value), KEY, (), PLAIN) == Opened(None, NOTHING)


def test_the_agreed_subprotocol_is_returned() -> None:
    headers = changed(RESPONSE, "sec-websocket-protocol", "superchat")
    assert check_response(101, headers, KEY, ("chat", "superchat"), PLAIN) == Opened("superchat", NOTHING)


@pytest.mark.parametrize("status", [200, 301, 401, 404, 426, 503])
def test_any_status_but_101_is_a_refusal(status: int) -> None:  # §4.1
    refusal = check_response(status, Headers(RESPONSE), KEY, (), PLAIN)
    assert refusal == Refusal(status, f"the server answered with HTTP status {status}")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        pytest.param("upgrade", [], id="§4.1 2: no upgrade"),
        pytest.param("upgrade", ["h2c"], id="§4.1 2: another upgrade"),
        pytest.param("upgrade", ["websocket, h2c"], id="§4.1 2: one upgrade too many"),
        pytest.param("connection", [], id="§4.1 3: no connection"),
        pytest.param("connection", ["close"], id="§4.1 3: another connection"),
        pytest.param("sec-websocket-accept", [], id="§4.1 4: no accept"),
        pytest.param("sec-websocket-accept", [ACCEPT.lower()], id="§4.1 4: wrong accept"),
        pytest.param("sec-websocket-accept", [KEY], id="§4.1 4: the key itself"),
        pytest.param("sec-websocket-accept", [ACCEPT, ACCEPT], id="§11.3.3: accept twice"),
        pytest.param("sec-websocket-extensions", ["permessage-deflate"], id="§4.1 5: not offered"),
        pytest.param("sec-websocket-protocol", ["other"], id="§4.1 6: not offered"),
        pytest.param("sec-websocket-protocol", ["CHAT"], id="§4.1 6: another case"),
        pytest.param("sec-websocket-protocol", [""], id="§4.1 6: empty"),
        pytest.param("sec-websocket-protocol", ["chat, superchat"], id="§4.1 6: two in a field"),
        pytest.param("sec-websocket-protocol", ["chat", "superchat"], id="§11.3.4: two fields"),
    ],
)
def test_a_faulty_response_is_a_refusal(name: str, values: list[str]) -> None:
    refusal = check_response(101, changed(RESPONSE, name, *values), KEY, ("chat", "superchat"), PLAIN)
    assert isinstance(refusal, Refusal)
    assert refusal.status == 101
    spoken = {"sec-websocket-extensions": "extension", "sec-websocket-protocol": "subprotocol"}.get(
        name, name
    )
    assert spoken.replace("connection", "Connection").lower() in refusal.problem.lower()


# Extensions

DEFLATE = Agreed(Deflate(12, True, 12, True, (("server_max_window_bits", "12"),)))


def test_an_offer_names_the_extensions() -> None:
    headers = changed(REQUEST, "sec-websocket-extensions", "x-one; a=1, x-two", "x-one")
    offer = check_request("GET", "1.1", headers)
    extensions = (Extension("x-one", (("a", "1"),)), Extension("x-two"), Extension("x-one"))
    assert offer == Offer(ACCEPT, (), extensions)


def test_a_malformed_offer_of_extensions_is_refused() -> None:
    refusal = check_request("GET", "1.1", changed(REQUEST, "sec-websocket-extensions", "x-one; =1"))
    assert isinstance(refusal, Refusal)
    assert refusal.status == 400
    assert refusal.problem.startswith("The Sec-WebSocket-Extensions header is malformed: expected a param")
    assert refusal.problem.endswith("at '; =1'.")


def test_the_response_names_what_was_agreed_on() -> None:
    headers = response_headers(Offer(ACCEPT, ()), None, NO_HEADERS, DEFLATE)
    assert isinstance(headers, Headers)
    assert headers["sec-websocket-extensions"] == "permessage-deflate; server_max_window_bits=12"


def test_a_client_offers_compression_if_it_wants_it() -> None:
    headers = request_headers("example.com", KEY, (), NO_HEADERS, ConnectionLimits())
    assert headers["sec-websocket-extensions"] == "permessage-deflate; client_max_window_bits"


def test_a_client_learns_what_was_agreed_on() -> None:
    headers = response_headers(Offer(ACCEPT, ()), None, NO_HEADERS, DEFLATE)
    assert isinstance(headers, Headers)
    opened = check_response(101, headers, KEY, (), ConnectionLimits())
    assert isinstance(opened, Opened)
    assert opened.agreed.deflate == Deflate(12, True, 12, True, (("server_max_window_bits", "12"),))


@pytest.mark.parametrize(
    "value",
    [
        "permessage-deflate; =",
        "permessage-deflate; x",
        "permessage-deflate, permessage-deflate",
        "x-webkit-deflate-frame",
    ],
)
def test_an_answer_that_does_not_fit_the_offer_is_a_refusal(value: str) -> None:
    headers = changed(RESPONSE, "sec-websocket-extensions", value)
    refusal = check_response(101, headers, KEY, (), ConnectionLimits())
    assert isinstance(refusal, Refusal)
    assert "the server" in refusal.problem
