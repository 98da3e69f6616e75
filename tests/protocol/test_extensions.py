import pytest

from theater.limits import ConnectionLimits
from theater.protocol.deflate import ContextBudget
from theater.protocol.extensions import (
    NOTHING,
    Agreed,
    Extension,
    check_answer,
    format_extensions,
    negotiate,
    offer_extensions,
    parse_extensions,
)

DEFLATE = "permessage-deflate"
LIMITS = ConnectionLimits()
NO_COMPRESSION = ConnectionLimits(compression=False)


def negotiated(*values: str, limits: ConnectionLimits = LIMITS) -> Agreed:
    offers = parse_extensions(values)
    assert not isinstance(offers, str)
    return negotiate(offers, limits, ContextBudget(1_000_000))


def checked(*values: str, limits: ConnectionLimits = LIMITS) -> Agreed | str:
    answer = parse_extensions(values)
    assert not isinstance(answer, str)
    return check_answer(answer, limits)


# RFC 6455 §9.1: the header field


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([], [], id="no field"),
        pytest.param([""], [], id="empty"),
        pytest.param([" , ,\t"], [], id="empty elements"),
        pytest.param(["foo"], [Extension("foo")], id="§9.1: first example"),
        pytest.param(
            ["bar; baz=2"], [Extension("bar", (("baz", "2"),))], id="§9.1: second line of the example"
        ),
        pytest.param(
            ["foo, bar; baz=2"], [Extension("foo"), Extension("bar", (("baz", "2"),))], id="list in one field"
        ),
        pytest.param(
            ["foo", "bar; baz=2"], [Extension("foo"), Extension("bar", (("baz", "2"),))], id="several fields"
        ),
        pytest.param(
            ["deflate-stream", "mux; max-channels=4; flow-control, deflate-stream"],
            [
                Extension("deflate-stream"),
                Extension("mux", (("max-channels", "4"), ("flow-control", None))),
                Extension("deflate-stream"),
            ],
            id="§9.1: three extensions",
        ),
        pytest.param(['a; b="c"'], [Extension("a", (("b", "c"),))], id="quoted"),
        pytest.param([r'a; b="\c\d"'], [Extension("a", (("b", "cd"),))], id="quoted and escaped"),
        pytest.param(
            ['a;b=1;c ; d = "2"\t;e ,,b'],
            [Extension("a", (("b", "1"), ("c", None), ("d", "2"), ("e", None))), Extension("b")],
            id="white space",
        ),
        pytest.param(["a; b; b=1"], [Extension("a", (("b", None), ("b", "1")))], id="a parameter twice"),
        pytest.param(["!#$%&'*+-.^_`|~09azAZ"], [Extension("!#$%&'*+-.^_`|~09azAZ")], id="all of a token"),
    ],
)
def test_what_may_stand_in_the_field(values: list[str], expected: list[Extension]) -> None:
    assert parse_extensions(values) == tuple(expected)
    assert parse_extensions([format_extensions(expected)]) == tuple(expected)


@pytest.mark.parametrize(
    "value",
    [
        ";",
        "; a",
        "a;",
        "a; ;b",
        "a; =1",
        "a; b=",
        "a; b=, c",
        "a; b=1 2",
        "a b",
        "a=1",
        "(a)",
        '"a"',
        'a; b="',
        'a; b="1',
        'a; b="1\\"',
        'a; b=""',
        'a; b="1 2"',
        'a; b="1,2"',
        'a; b="\xe9"',
        'a; b="1"2',
        "a; \xe9",
        "\x7f",
        "a\x00",
        "a, b; /",
    ],
)
def test_what_may_not(value: str) -> None:
    assert isinstance(parse_extensions([value]), str)
    assert isinstance(parse_extensions(["fine", value]), str)


def test_the_problem_shows_the_place() -> None:
    assert parse_extensions(["fine, (a)"]) == "expected the name of an extension at '(a)'"
    assert parse_extensions(['fine; a="1 2"']) == "the value of a is not a token"
    problem = parse_extensions(["fine; a=" + "(" * 1000])
    assert problem == f"expected a parameter, a comma or the end at {'=' + '(' * 19!r}"


@pytest.mark.parametrize(
    "text", ["a;" * 8000, 'a; b="' + "\\" * 16000, "a; b" + " " * 16000, "a" + ", " * 9000]
)
def test_a_long_field_takes_no_long_time(text: str) -> None:  # or the test does not end
    for end in ("", "(", '"'):
        parse_extensions([text + end])


# What a server makes of it


@pytest.mark.parametrize(
    "offers",
    [
        [],
        ["x-webkit-deflate-frame"],
        ["permessage-bzip2", "mux; max-channels=4"],
        ["PERMESSAGE-DEFLATE"],
        [f"{DEFLATE}; unknown"],
        [f"{DEFLATE}; server_max_window_bits=16", f"{DEFLATE}; client_max_window_bits=16"],
    ],
)
def test_what_is_not_known_is_declined(offers: list[str]) -> None:
    assert negotiated(*offers) == NOTHING
    assert NOTHING.answer() == []


def test_nothing_is_agreed_on_without_compression() -> None:
    assert negotiated(DEFLATE, limits=NO_COMPRESSION) == NOTHING


def test_the_first_acceptable_offer_is_taken() -> None:
    agreed = negotiated(
        "unknown",
        f"{DEFLATE}; server_max_window_bits=7",
        f"{DEFLATE}; server_max_window_bits=10; client_max_window_bits",
        f"{DEFLATE}; server_max_window_bits=11",
        DEFLATE,
    )
    assert format_extensions(agreed.answer()) == (
        f"{DEFLATE}; server_max_window_bits=10; client_max_window_bits=12"
    )


def test_only_what_is_agreed_on_is_paid_for() -> None:
    budget = ContextBudget(1_000_000)
    offers = (Extension(DEFLATE), Extension(DEFLATE))
    agreed = negotiate(offers, LIMITS, budget)
    assert agreed.deflate is not None
    assert budget.taken == agreed.deflate.memory > 0


# What a client makes of the answer


def test_a_client_offers_what_browsers_do() -> None:
    assert format_extensions(offer_extensions(LIMITS)) == f"{DEFLATE}; client_max_window_bits"
    assert offer_extensions(NO_COMPRESSION) == []


def test_an_answer_is_taken() -> None:
    assert checked() == NOTHING
    agreed = checked(f"{DEFLATE}; server_max_window_bits=10")
    assert isinstance(agreed, Agreed)
    assert agreed.deflate is not None
    assert agreed.deflate.receive_window == 10


@pytest.mark.parametrize("limits", [LIMITS, NO_COMPRESSION])
def test_an_answer_to_what_was_not_offered_is_not(limits: ConnectionLimits) -> None:  # §4.1
    problem = "the server uses the extension unasked, which was not offered"
    assert checked("unasked", limits=limits) == problem


def test_an_answer_without_an_offer_is_not_taken() -> None:
    problem = f"the server uses the extension {DEFLATE}, which was not offered"
    assert checked(DEFLATE, limits=NO_COMPRESSION) == problem


def test_an_extension_cannot_be_agreed_on_twice() -> None:
    assert checked(DEFLATE, DEFLATE) == f"the server names the extension {DEFLATE} twice"


def test_an_answer_with_wrong_parameters_is_not_taken() -> None:
    problem = checked(f"{DEFLATE}; client_max_window_bits")
    assert problem == (
        f"the server answers the offer of {DEFLATE} with parameters that are unknown, invalid or given twice"
    )
