"""What a component has of Theater and of msgspec, beside the native packages.

Both are asked the same questions, the SDK in a Python that has nothing else.
"""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

import theater
from theater.build import python
from theater.build.wit import contract

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec(python.COMPILER) is None, reason="no componentize-py"),
    pytest.mark.timeout(120),
]

# Writes, as JSON, what every public name is: kind, text, signatures, fields.
NAMES = """
import inspect, json, theater

def described(value):
    if not inspect.isclass(value):
        return str(value)
    members = {}
    for name, member in inspect.getmembers(value):
        if name.startswith("_"):
            continue
        if isinstance(member, property):
            members[name] = ["property", member.fset is not None, member.__doc__]
        elif callable(member):
            members[name] = [parameters(member), inspect.iscoroutinefunction(member), member.__doc__]
    return {
        "doc": value.__doc__,
        "bases": [base.__name__ for base in value.__mro__ if base.__name__ != "_StructMixin"],
        "parameters": parameters(value),
        "positions": getattr(value, "__match_args__", None),
        "members": members,
    }

def parameters(function):
    try:
        signature = inspect.signature(function)
    except ValueError:
        return ""
    empty = inspect.Parameter.empty
    return [[each.name, str(each.kind), each.default is empty] for each in signature.parameters.values()]

names = [name for name in theater.__all__ if name != "asgi"]
print(json.dumps({name: described(getattr(theater, name)) for name in names}))
"""

# Evaluates expressions, and writes what they are, or how they fail.
VALUES = """
import copy, json, pickle, sys
import enum
from typing import Annotated, Any, Literal
import msgspec
from msgspec import Meta
import theater
from theater import *
from theater.contract.plain import pack, unpack
from theater.errors import *

class Colour(enum.Enum):
    RED = "red"

class Point(msgspec.Struct):
    x: int
    y: float = 0.5
    tags: list[str] = []

class Say(msgspec.Struct, tag="say"):
    text: str
    ref: Annotated[str, Meta(max_length=4)] = ""

class Move(msgspec.Struct, tag="move", forbid_unknown_fields=True):
    to: Point
    way: list[int] | None = None

class Named(msgspec.Struct, kw_only=True, omit_defaults=True):
    first: str = msgspec.field(name="firstName")
    last: str = ""

class Derived(Point, frozen=True, tag_field="kind"):
    z: int = 3

class Plain(msgspec.Struct, eq=False):
    x: int = 1

def decode(type, text):
    return msgspec.json.decode(text, type=type)

def matched(event):
    match event:
        case Received(Text(text)):
            return "text", text
        case Received(Binary(data) | Ping(data)):
            return "bytes", data
        case Closed(code, reason):
            return code, reason
        case Error(problem) | Congested(problem):
            return problem
    return "other"

found = []
for expression in json.load(sys.stdin):
    try:
        found.append(repr(eval(expression)))
    except Exception as error:
        found.append(f"{type(error).__name__}: {error}")
print(json.dumps(found))
"""

EXPRESSIONS = [
    # messages and events
    *(
        f"({value}, {value} == {value}, hash({value}) == hash({value}), copy.copy({value}) == {value})"
        for value in (
            "Text('a')",
            "Binary(b'a')",
            "Ping()",
            "Pong(b'x')",
            "Close()",
            "Close(4000, 'bye')",
            "Connected()",
            "Received(Text('a'))",
            "Error('x')",
            "Congested(5)",
            "Drained()",
            "Closed()",
            "Address('chat', 'lobby')",
            "Headers({'A': 'b', 'C': 'd'})",
            "Query('a=1&a=2')",
            "Peer('::1', 5)",
            "Response.json({'a': [1, 'ä']})",
            "Response.text('ä', 404)",
            "Response.html('<p>')",
            "Accept('p', {'X': 'y'}, ['a'], {'n': [1, (2, 3)]})",
            "Request('GET', '/')",
            "UpgradeRequest('/')",
        )
    ),
    "Text('a') == Binary('a'), Text('a') == Text('b'), Text('a') != 'a'",
    "[matched(each) for each in (Received(Text('a')), Received(Binary(b'a')), Received(Ping(b'p')))]",
    "[matched(each) for each in (Closed(), Error('x'), Congested(7), Drained(), Received(Pong(b'')))]",
    "setattr(Text('a'), 'text', 'b')",
    "Text.__match_args__, Closed.__match_args__, Connected.__match_args__",
    "len({Text('a'), Text('a'), Text('b')})",
    "pickle.loads(pickle.dumps(Received(Text('a'))))",
    # http
    "Headers([('a', '1'), ('A', '2')])['A'], Headers([('a', '1'), ('A', '2')]).get_all('a')",
    "Headers({'a\\n': 'b'})",
    "Headers({'a': 'b\\n'})",
    "Headers({'a': 5})",
    "'b' in Headers({'B': 'c'}), len(Headers()), Headers({'a': 'x, y'}).tokens('a')",
    "Query('a=1&a=2&b=').get_all('a'), Query('b=')['b'], Query('').get('x', 'y')",
    "Query('')['a']",
    "Response(99)",
    "Response(200, (), 5)",
    "Response(200, {}, 'ä').body",
    "Accept(tags='abc')",
    "Accept(tags=['']*2)",
    "Accept(tags=map(str, range(100)))",
    "Accept(attachment=object())",
    "Accept(attachment='x' * 20_000)",
    "Accept(attachment=float('nan'))",
    "Address.parse('chat/a/b'), Address.parse('chat'), str(Address('chat', 'x'))",
    "Address.parse('Chat')",
    "pack({'a': 1}, 'x', 100), unpack('[1]')",
    # errors
    "str(InvalidReply('handle_request', 'x', 'a Response'))",
    "str(InvalidMessage(b'x', 'Text'))",
    "str(InvalidClose(1005, '', 'no'))",
    "str(ActorFailed('a/b')), str(RequestTimeout('a/b', 2.5)), ConnectionEnded(1006, '').code",
    "[each.__name__ for each in RequestTimeout.__mro__]",
    # structs
    "Point(1), Point(1, 2.0, ['a']), Point(1) == Point(1), Point(1) == Point(2)",
    "Point(1).tags is Point(1).tags",
    "hash(Point(1))",
    "Plain() == Plain()",
    "Derived(1), Derived(1, 2.0, [], 5).z, msgspec.json.encode(Derived(1))",
    "setattr(Derived(1), 'x', 2)",
    "Named(first='a'), [msgspec.json.encode(Named(first='a', last=each)) for each in ('', 'b')]",
    "msgspec.structs.asdict(Point(1)), msgspec.structs.astuple(Point(1))",
    "msgspec.structs.replace(Point(1), y=3.0)",
    "msgspec.to_builtins([Say('a'), Colour.RED, {1: (2,)}, {3}])",
    "msgspec.convert({'x': 1}, Point)",
    # writing JSON
    *(
        f"msgspec.json.encode({value})"
        for value in (
            "Say('ä€\\n\"')",
            "[Point(1), None, True, 1.5, 'x', b'hi', Colour.RED]",
            "{1: 2, 'a': float('nan')}",
            "{1, }",
            "object()",
            "{(1,): 2}",
            "10 ** 30",
        )
    ),
    # reading it
    *(
        f"decode({kind}, {text!r})"
        for kind, texts in {
            "Say | Move": (
                '{"type":"say","text":"x"}',
                '{"text":"x","type":"say","more":1}',
                '{"type":"say"}',
                '{"text":"x"}',
                '{"type":"shout"}',
                '{"type":1}',
                '{"type":"say","text":1}',
                '{"type":"say","text":"x","ref":"abcde"}',
                '{"type":"move","to":{"x":1}}',
                '{"type":"move","to":{"x":1.5}}',
                '{"type":"move","to":{"x":1},"way":[1,"a"]}',
                '{"type":"move","to":{"x":1},"way":"a"}',
                '{"type":"move","to":{"x":1},"why":1}',
                "[]",
                "null",
                "1",
                "",
                "{",
                '"abc',
            ),
            "Point": ('{"x":1,"y":2}', '{"x":true}', '{"y":1}', '{"x":1,"tags":[1]}', "[1]"),
            "Any": ('{"a":[1,2.5,null,true,"x"]}',),
            "int": ("1", "1.5", "true", '"1"'),
            "float": ("1", "1.5", '"x"', "1e400"),
            "bool": ("true", "1"),
            "bytes": ('"aGk="', '"!"'),
            "int | str | None": ("1", '"a"', "null", "[]"),
            "Literal['a', 'b']": ('"a"', '"c"', "1"),
            "Colour": ('"red"', '"blue"'),
            "list[int]": ("[1,2]", '[1,"a"]', "{}"),
            "set[int]": ("[1,1]",),
            "tuple[int, str]": ('[1,"a"]', "[1]", '["a","b"]'),
            "tuple[int, ...]": ("[1,2]", '["a"]'),
            "dict[str, list[Point]]": ('{"k":[{"x":1}]}', '{"k":[{"x":"s"}]}'),
            "dict[int, str]": ('{"1":"a"}', '{"x":"a"}'),
            "Annotated[int, Meta(ge=1, le=5)]": ("0", "3", "6"),
            "Annotated[int, Meta(gt=1, lt=5)]": ("1", "5"),
            "Annotated[int, Meta(multiple_of=3)]": ("2", "3"),
            "Annotated[float, Meta(gt=0)]": ("0", "0.1"),
            "Annotated[str, Meta(min_length=2, pattern='^a')]": ('"a"', '"bb"', '"ab"'),
            "Annotated[list[int], Meta(max_length=1)]": ("[1]", "[1,2]"),
        }.items()
        for text in texts
    ),
]

MYPY = """\
[mypy]
strict = True
enable_error_code = possibly-undefined, redundant-expr, truthy-bool, unused-awaitable
warn_unreachable = True
python_version = 3.14
mypy_path = $MYPY_CONFIG_FILE_DIR/sdk:$MYPY_CONFIG_FILE_DIR/bindings
[mypy-wit_world.*,componentize_py_types]
ignore_errors = True
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The SDK, and the bindings for the whole contract."""
    folder = tmp_path_factory.mktemp("guest")
    python.copy_sdk(folder / "sdk")
    python.write_bindings(folder / "bindings", contract("0.2.0").exports)
    return folder


def ask(script: str, folder: Path | None, questions: object = None) -> object:
    """What a script prints: with the SDK if a folder is given, otherwise with the native packages."""
    start = ""
    if folder is not None:
        start = f"import sys; sys.path[:0] = {[str(folder / each) for each in ('sdk', 'bindings')]!r}\n"
    options = ["-I", "-S"] if folder is not None else []
    done = subprocess.run(
        [sys.executable, *options, "-c", start + script],
        input=json.dumps(questions),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: object = json.loads(done.stdout)
    return answer


def test_public_names_are_the_same(folder: Path) -> None:
    guest, native = ask(NAMES, folder), ask(NAMES, None)
    assert isinstance(guest, dict)
    assert isinstance(native, dict)
    assert list(guest) == list(native) == [name for name in theater.__all__ if name != "asgi"]
    for each in (guest, native):
        connection = each["Connection"]
        # Only the host makes connections, and it knows more of them.
        del connection["parameters"]
        connection["members"].pop("wire", None)
        connection["doc"] = connection["doc"].partition("\n\n    The facts are asked")[0].rstrip()
    for name, found in native.items():
        assert guest[name] == found, name


def test_values_are_the_same(folder: Path) -> None:
    guest, native = ask(VALUES, folder, EXPRESSIONS), ask(VALUES, None, EXPRESSIONS)
    assert isinstance(guest, list)
    assert isinstance(native, list)
    for expression, one, other in zip(EXPRESSIONS, guest, native, strict=True):
        assert one == other, expression


LOWERED = """\
import json, sys
from theater import Close, Ping, Text
from theater.guest.values import lower_message

class Named(Text):
    pass

def lowered(expression):
    try:
        return repr(lower_message(eval(expression)))
    except Exception as error:
        return f"{type(error).__name__}: {error}"

print(json.dumps([lowered(each) for each in json.load(sys.stdin)]))
"""


def test_what_is_no_message_is_refused_before_the_host_sees_it(folder: Path) -> None:
    fine = ["Text('a')", "Text('ä')", "Named('a')", "Ping(bytearray(b'a'))", "Close(1000, 'a')"]
    refused = ["Text(b'a')", "Text(bytearray(b'a'))", "Text(None)", "Text('\\ud800')", "'a'", "Ping('a')"]
    found = ask(LOWERED, folder, fine + refused)
    assert isinstance(found, list)
    assert all(each.startswith("Message_") for each in found[: len(fine)]), found
    assert all(each.startswith("InvalidMessage: ") for each in found[len(fine) :]), found


@pytest.mark.parametrize("text", ["x", "[1,]", "[1 2]", "[NaN]", '"\\ud800"', "1 2"])
def test_text_that_is_no_json(folder: Path, text: str) -> None:
    question = [f"decode(Any, {text!r})"]
    for answer in (ask(VALUES, folder, question), ask(VALUES, None, question)):
        assert isinstance(answer, list)
        assert answer[0].startswith("DecodeError: ")


def test_what_a_component_does_without(folder: Path) -> None:
    assert ask(VALUES, folder, ["theater.asgi", "theater.nothing", "msgspec.msgpack"]) == [
        "ImportError: theater.asgi belongs to a server; there is none inside a component",
        "AttributeError: module 'theater' has no attribute 'nothing'",
        "AttributeError: module 'msgspec' has no attribute 'msgpack'",
    ]


def test_types(folder: Path) -> None:
    (folder / "mypy.ini").write_text(MYPY)
    command = [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "--cache-dir", "cache", "sdk"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
