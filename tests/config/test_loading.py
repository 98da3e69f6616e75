"""Manifests: each mistake is told once, with its place, what stands there and what should."""

from collections.abc import Callable
from pathlib import Path

import pytest

from theater import Actor, Request, Response
from theater.config import Manifest, load_manifests
from theater.errors import ConfigError, Mistake
from theater.limits import Limits
from theater.runtime.address import TYPE_NAME
from theater.runtime.ports import Batch

SCRIPT = """\
from theater import Actor, Request, Response

class Room(Actor):
    pass

class Site(Actor):
    def handle_request(self, request: Request) -> Response:
        return Response()

class Gatherer(Actor):
    def handle_batch(self, batch):
        pass

class Plain:
    pass

number = 5
"""

HANDLER = '[[handlers]]\ntype = "websocket-server"\npath = "/x"\n'
HEAD = 'name = "room"\npython = "room.py:Room"\n'
GATHERER = 'name = "gatherer"\npython = "room.py:Gatherer"\n'
SITE = 'name = "site"\npython = "room.py:Site"\n'

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a manifest next to the script, and gives its path."""
    (tmp_path / "room.py").write_text(SCRIPT)

    def write(text: str, name: str = "theater.toml") -> str:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return str(path)

    return write


def mistakes(*arguments: str) -> list[Mistake]:
    with pytest.raises(ConfigError) as error:
        load_manifests(arguments)
    return error.value.mistakes


def name_of_class(manifest: Manifest) -> str:
    assert isinstance(manifest.actor, type)
    return manifest.actor.__name__


# What is right


def test_manifest(write: Write) -> None:
    file = write(
        SITE
        + 'version = "1.2"\n'
        + '[[handlers]]\ntype = "websocket-server"\npath = "/rooms/{room}"\ninstance = "{room}"\n'
        + "max_message = 100\n"
        + '[[handlers]]\ntype = "http-server"\npath = "/rooms/{name}"\nmethods = ["GET", "M-SEARCH"]\n'
    )
    [manifest] = load_manifests([file])
    assert (manifest.name, manifest.version, manifest.file) == ("site", "1.2", file)
    assert name_of_class(manifest) == "Site"
    websocket, http = manifest.routes
    assert (websocket.kind, websocket.pattern.text) == ("websocket-server", "/rooms/{room}")
    assert (websocket.actor, websocket.instance) == ("site", "{room}")
    assert (http.kind, http.methods, http.instance) == ("http-server", ("GET", "M-SEARCH"), "")
    assert manifest.route_limits == ({"max_message": 100}, {})
    assert (manifest.limits, manifest.server) == ({}, None)


def test_everything_a_handler_can_have(write: Write) -> None:
    file = write(
        GATHERER
        + HANDLER
        + 'origins = ["https://example.org:8443", "https://*.example.org", "*", "null"]\n'
        + 'batch = { max_wait = 1 }\nanswers = { ping = "pong" }\nmessages = "whole"\n'
        + "max_lifetime = 3600\ncompression = false\nslow_reader = 'block'\n"
        + WEB
        + 'path = "/y"\nmessages = "stream"\n'
    )
    [manifest] = load_manifests([file])
    whole, stream = manifest.routes
    assert whole.origins == ("https://example.org:8443", "https://*.example.org", "*", "null")
    assert (whole.batch, whole.answers, whole.stream) == (Batch(64, 1.0), {"ping": "pong"}, False)
    assert (stream.origins, stream.batch, stream.answers, stream.stream) == ((), None, {}, True)
    settings = {"max_lifetime": 3600.0, "compression": False, "slow_reader": "block"}
    assert manifest.route_limits == (settings, {})


def test_an_empty_batch_has_the_defaults(write: Write) -> None:
    [manifest] = load_manifests([write(GATHERER + HANDLER + "batch = {}\n")])
    assert manifest.routes[0].batch == Batch(64, 0.0)


def test_limits_and_server(write: Write) -> None:
    file = write(
        HEAD
        + "[limits]\nhandler_timeout = 5\n"
        + '[server]\nhosts = ["example.org", "*.example.org", "[::1]"]\n'
        + 'trusted_proxies = ["10.0.0.0/8", "::1", "unix"]\nproxy_protocol = true\n'
        + "[server.limits]\nmax_connections = 500\ndrain_window = 0\n"
        + HANDLER
    )
    [manifest] = load_manifests([file])
    assert manifest.limits == {"handler_timeout": 5.0}
    assert manifest.server is not None
    assert manifest.server.limits == {"max_connections": 500, "drain_window": 0.0}
    assert manifest.server.policy == {
        "hosts": ("example.org", "*.example.org", "[::1]"),
        "trusted_proxies": ("10.0.0.0/8", "::1", "unix"),
        "proxy_protocol": True,
    }


def test_folder_with_a_manifest(write: Write, tmp_path: Path) -> None:
    file = write(HEAD + HANDLER)
    [manifest] = load_manifests([str(tmp_path)])
    assert manifest.file == file
    assert manifest.version == ""


def test_class_without_a_manifest(write: Write, tmp_path: Path) -> None:
    write("")
    [room] = load_manifests([f"{tmp_path}/room.py:Room"])
    assert room.name == "room"
    assert [(route.kind, route.pattern.text) for route in room.routes] == [("websocket-server", "/")]
    [site] = load_manifests([f"{tmp_path}/room.py:Site"])
    assert [route.kind for route in site.routes] == ["websocket-server", "http-server"]
    assert site.file == f"{tmp_path}/room.py:Site"


def test_script_may_import_its_neighbours(write: Write, tmp_path: Path) -> None:
    (tmp_path / "neighbour_of_room.py").write_text("word = 'hello'\n")
    (tmp_path / "other.py").write_text("from neighbour_of_room import word\n" + SCRIPT)
    file = write('name = "x"\npython = "other.py:Room"\n' + HANDLER)
    assert name_of_class(load_manifests([file])[0]) == "Room"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Echo", "echo"),
        ("ChatRoom", "chat-room"),
        ("HTTPServer", "httpserver"),
        ("chat_room", "chat-room"),
        ("_Private", "private"),
        ("Room2Go", "room2-go"),
    ],
)
def test_name_of_a_class_without_a_manifest(name: str, expected: str) -> None:
    assert Manifest.of(type(name, (Actor,), {})).name == expected


@pytest.mark.parametrize("name", ["Café", "X" * 100, "_1st"])
def test_name_of_a_class_is_always_a_name_of_a_type(name: str) -> None:
    assert TYPE_NAME.fullmatch(Manifest.of(type(name, (Actor,), {})).name)


def test_manifest_of_a_class_has_the_handlers_it_defines() -> None:
    class Both(Actor):
        def handle_request(self, request: Request) -> Response:
            return Response()

    assert len(Manifest.of(Actor, "/a").routes) == 1
    routes = Manifest.of(Both, "/{a}", "{a}").routes
    assert [(route.kind, route.instance) for route in routes] == [
        ("websocket-server", "{a}"),
        ("http-server", "{a}"),
    ]


# One mistake

H0 = "handlers[0]."
WEB = '[[handlers]]\ntype = "websocket-server"\n'
HTTP = '[[handlers]]\ntype = "http-server"\npath = "/x"\n'

ONE: dict[str, tuple[str, str, str, str]] = {
    # what: manifest, key, found, expected
    "unknown key": (HEAD + "colour = 1\n" + HANDLER, "colour", "an unknown key", "only name, version"),
    "misspelt key": (HEAD + 'verison = "1"\n' + HANDLER, "verison", "an unknown key", "'version' perhaps"),
    "unknown key of a handler": (HEAD + HANDLER + "x = 1\n", H0 + "x", "an unknown key", "only type, path"),
    "misspelt key of a handler": (
        HEAD + HANDLER + 'instanse = ""\n',
        H0 + "instanse",
        "an unknown key",
        "'instance' perhaps",
    ),
    "key of the other kind": (
        HEAD + HANDLER + 'methods = ["GET"]\n',
        H0 + "methods",
        "an unknown key",
        "only type, path, instance, origins, messages, batch, answers, the limits of connections",
    ),
    "max_message for http": (
        SITE + HTTP + "max_message = 5\n",
        H0 + "max_message",
        "an unknown key",
        "only type, path, instance, methods",
    ),
    "no name": ('python = "room.py:Room"\n' + HANDLER, "name", "nothing", "a name such as 'chat'"),
    "empty name": ('name = ""\npython = "room.py:Room"\n' + HANDLER, "name", "''", "a name such as"),
    "name no text": ('name = 5\npython = "room.py:Room"\n' + HANDLER, "name", "5 (a number)", "a name such"),
    "bad name": ('name = "Room"\npython = "room.py:Room"\n' + HANDLER, "name", "'Room'", "lower-case"),
    "long name": (
        f'name = "{"x" * 65}"\npython = "room.py:Room"\n' + HANDLER,
        "name",
        "'xxx",
        "at most 64",
    ),
    "version no text": (HEAD + "version = 0.1\n" + HANDLER, "version", "0.1 (a number)", "text such as"),
    "version a list": (HEAD + "version = []\n" + HANDLER, "version", "[] (a list)", "text such as"),
    "version a boolean": (HEAD + "version = true\n" + HANDLER, "version", "True (a boolean)", "text such"),
    "no python": (
        'name = "room"\n' + HANDLER,
        "python",
        "nothing",
        "text such as 'chat.py:ChatRoom', or component",
    ),
    "python a table": ('name = "a"\n' + HANDLER + "[python]\n", "python", "{} (a table)", "text such as"),
    "python without a class": (
        'name = "a"\npython = "room.py"\n' + HANDLER,
        "python",
        "'room.py'",
        "a Python file and a class",
    ),
    "python with a bad class": (
        'name = "a"\npython = "room.py:a b"\n' + HANDLER,
        "python",
        "'room.py:a b'",
        "a Python file and a class",
    ),
    "python a module": (
        'name = "a"\npython = "room:Room"\n' + HANDLER,
        "python",
        "'room:Room'",
        "a Python file and a class",
    ),
    "python missing": (
        'name = "a"\npython = "no.py:Room"\n' + HANDLER,
        "python",
        "'no.py', which is no file",
        "a Python file in ",
    ),
    "no such class": (
        'name = "a"\npython = "room.py:Rooom"\n' + HANDLER,
        "python",
        "no 'Rooom' in room.py",
        "one of its actors: Room, Site, Gatherer",
    ),
    "class no actor": (
        'name = "a"\npython = "room.py:Plain"\n' + HANDLER,
        "python",
        "'Plain', which is no actor",
        "a class derived from theater.Actor",
    ),
    "no class": (
        'name = "a"\npython = "room.py:number"\n' + HANDLER,
        "python",
        "'number', which is no actor",
        "a class derived from",
    ),
    "Actor itself": (
        'name = "a"\npython = "room.py:Actor"\n' + HANDLER,
        "python",
        "'Actor', which is no actor",
        "a class derived from",
    ),
    "no handlers": (HEAD, "handlers", "nothing", "one or more [[handlers]] tables"),
    "empty handlers": (HEAD + "handlers = []\n", "handlers", "nothing", "one or more"),
    "handlers a number": (HEAD + "handlers = 5\n", "handlers", "5 (a number)", "one or more"),
    "handlers of text": (HEAD + 'handlers = ["x"]\n', "handlers", "['x'] (a list)", "one or more"),
    "handlers one table": (HEAD + '[handlers]\npath = "/"\n', "handlers", "{'path': '/'} (a table)", "one"),
    "no type": (HEAD + '[[handlers]]\npath = "/x"\n', H0 + "type", "nothing", "one of websocket-server, htt"),
    "no type but a key of a kind": (
        HEAD + '[[handlers]]\npath = "/x"\nmax_message = 5\n',
        H0 + "type",
        "nothing",
        "one of",
    ),
    "unknown type": (
        HEAD + '[[handlers]]\ntype = "ftp"\npath = "/x"\n',
        H0 + "type",
        "'ftp'",
        "one of websocket-server, http-server",
    ),
    "type no text": (HEAD + '[[handlers]]\ntype = 1\npath = "/x"\n', H0 + "type", "1 (a number)", "one of"),
    "no path": (HEAD + WEB, H0 + "path", "nothing", "text such as '/rooms/{room}'"),
    "path no text": (HEAD + WEB + "path = 1\n", H0 + "path", "1 (a number)", "text such as"),
    "relative path": (HEAD + WEB + 'path = "x"\n', H0 + "path", "'x'", "a path that begins with a slash"),
    "bad pattern": (HEAD + WEB + 'path = "/a{b}"\n', H0 + "path", "'/a{b}'", "one whole {parameter}"),
    "parameter twice": (HEAD + WEB + 'path = "/{b}/{b}"\n', H0 + "path", "'/{b}/{b}'", "{b} stands twice"),
    "reserved path": (
        HEAD + WEB + 'path = "/_theater/x"\n',
        H0 + "path",
        "'/_theater/x'",
        "a path outside /_theater",
    ),
    "instance no text": (HEAD + HANDLER + "instance = 1\n", H0 + "instance", "1 (a number)", "text such as"),
    "bad instance": (HEAD + HANDLER + 'instance = "{"\n', H0 + "instance", "'{'", "whole {parameters}"),
    "unknown parameter": (
        HEAD + HANDLER + 'instance = "{room}"\n',
        H0 + "instance",
        "{room}",
        "parameters of the path /x",
    ),
    "methods no list": (SITE + HTTP + 'methods = "GET"\n', H0 + "methods", "'GET'", "a list of HTTP methods"),
    "methods of numbers": (SITE + HTTP + "methods = [1]\n", H0 + "methods", "[1] (a list)", "a list of"),
    "methods in lower case": (SITE + HTTP + 'methods = ["get"]\n', H0 + "methods", "['get'] (a l", "a list"),
    "http without handle_request": (
        HEAD + HTTP,
        H0 + "type",
        "'http-server', but Room has no handle_request",
        "a class that defines handle_request",
    ),
    "max_message zero": (HEAD + HANDLER + "max_message = 0\n", H0 + "max_message", "0 (a number)", "bytes"),
    "max_message negative": (HEAD + HANDLER + "max_message = -1\n", H0 + "max_message", "-1 (a n", "bytes"),
    "max_message text": (HEAD + HANDLER + 'max_message = "1"\n', H0 + "max_message", "'1'", "bytes"),
    "max_message a boolean": (HEAD + HANDLER + "max_message = true\n", H0 + "max_message", "True", "bytes"),
    "max_message a float": (HEAD + HANDLER + "max_message = 1.5\n", H0 + "max_message", "1.5 (a", "bytes"),
    "limits no table": ("limits = 5\n" + HEAD + HANDLER, "limits", "5 (a number)", "a table"),
    "misspelt limit": (
        HEAD + "limits.mesage_rate = 5\n" + HANDLER,
        "limits.mesage_rate",
        "an unknown key",
        "'message_rate' perhaps",
    ),
    "limit of the server for an actor": (
        HEAD + "limits.max_connections = 5\n" + HANDLER,
        "limits.max_connections",
        "a limit of the server",
        "it in [server.limits]",
    ),
    "limit of the server for a handler": (
        HEAD + HANDLER + "max_head = 5\n",
        H0 + "max_head",
        "a limit of the server",
        "it in [server.limits]",
    ),
    "limit of an actor for a handler": (
        HEAD + HANDLER + "handler_timeout = 5\n",
        H0 + "handler_timeout",
        "a limit of actors",
        "it in [limits]",
    ),
    "limit that is too small": (
        HEAD + "limits.compression_window = 8\n" + HANDLER,
        "limits.compression_window",
        "8 (a number)",
        "a whole number of bits from 9 to 15",
    ),
    "time that is no time": (
        HEAD + "limits.handler_timeout = 0\n" + HANDLER,
        "limits.handler_timeout",
        "0 (a number)",
        "a number of seconds above 0",
    ),
    "without end": (
        HEAD + "limits.handler_timeout = inf\n" + HANDLER,
        "limits.handler_timeout",
        "inf (a number)",
        "a number of seconds above 0",
    ),
    "time that may be 0": (
        HEAD + "server.limits.drain_window = -1\n" + HANDLER,
        "server.limits.drain_window",
        "-1 (a number)",
        "a number of seconds, at least 0",
    ),
    "limit that may be none": (
        HEAD + "limits.max_lifetime = false\n" + HANDLER,
        "limits.max_lifetime",
        "False (a boolean)",
        "a number of seconds above 0",
    ),
    "limit no boolean": (
        HEAD + "limits.compression = 1\n" + HANDLER,
        "limits.compression",
        "1 (a number)",
        "true or false",
    ),
    "limit of few words": (
        HEAD + HANDLER + 'rate_action = "wait"\n',
        H0 + "rate_action",
        "'wait'",
        "one of close, delay, drop",
    ),
    "limit without a unit": (
        HEAD + HANDLER + "compression_level = 0\n",
        H0 + "compression_level",
        "0 (a number)",
        "a whole number from 1 to 9",
    ),
    "server no table": ("server = 5\n" + HEAD + HANDLER, "server", "5 (a number)", "a table"),
    "unknown key of the server": (
        HEAD + "server.x = 1\n" + HANDLER,
        "server.x",
        "an unknown key",
        "only hosts, trusted_proxies, proxy_protocol, limits",
    ),
    "unknown limit of the server": (
        HEAD + "server.limits.zzz = 1\n" + HANDLER,
        "server.limits.zzz",
        "an unknown key",
        "only the limits of the server",
    ),
    "hosts no list": (HEAD + 'server.hosts = "a"\n' + HANDLER, "server.hosts", "'a'", "a list, each a host"),
    "host with a port": (
        HEAD + 'server.hosts = ["a", "b:80"]\n' + HANDLER,
        "server.hosts[1]",
        "'b:80'",
        "without a port",
    ),
    "host a URL": (HEAD + 'server.hosts = ["http://a"]\n' + HANDLER, "server.hosts[0]", "'http://a'", "a ho"),
    "proxy a name": (
        HEAD + 'server.trusted_proxies = ["proxy"]\n' + HANDLER,
        "server.trusted_proxies[0]",
        "'proxy'",
        "an IP address, a network such as '10.0.0.0/8', or 'unix'",
    ),
    "proxy a network with a host": (
        HEAD + 'server.trusted_proxies = ["10.0.0.1/8"]\n' + HANDLER,
        "server.trusted_proxies[0]",
        "'10.0.0.1/8'",
        "an IP address, a network",
    ),
    "proxy_protocol no boolean": (
        HEAD + "server.proxy_protocol = 1\n" + HANDLER,
        "server.proxy_protocol",
        "1 (a number)",
        "true or false",
    ),
    "proxy_protocol of nobody": (
        HEAD + "server.proxy_protocol = true\n" + HANDLER,
        "server.proxy_protocol",
        "true without trusted_proxies",
        "the proxies that send it there",
    ),
    "origins no list": (HEAD + HANDLER + 'origins = "*"\n', H0 + "origins", "'*'", "a list, each an origin"),
    "origin with a path": (
        HEAD + HANDLER + 'origins = ["https://example.org/"]\n',
        H0 + "origins[0]",
        "'https://example.org/'",
        "an origin such as 'https://example.org'",
    ),
    "origin a host": (HEAD + HANDLER + 'origins = ["a"]\n', H0 + "origins[0]", "'a'", "an origin such as"),
    "origin no text": (HEAD + HANDLER + "origins = [1]\n", H0 + "origins[0]", "1 (a number)", "an origin"),
    "wildcard inside": (
        HEAD + HANDLER + 'origins = ["https://a.*.org"]\n',
        H0 + "origins[0]",
        "'https://a.*.org'",
        "an origin such as",
    ),
    "messages no text": (HEAD + HANDLER + "messages = 1\n", H0 + "messages", "1 (a number)", "whole or stre"),
    "messages another word": (HEAD + HANDLER + 'messages = "x"\n', H0 + "messages", "'x'", "whole or stream"),
    "batch no table": (GATHERER + HANDLER + "batch = true\n", H0 + "batch", "True (a boolean)", "a table"),
    "batch with another key": (
        GATHERER + HANDLER + "batch = { x = 1 }\n",
        H0 + "batch.x",
        "an unknown key",
        "only max_messages, max_wait",
    ),
    "batch of none": (
        GATHERER + HANDLER + "batch = { max_messages = 0 }\n",
        H0 + "batch.max_messages",
        "0 (a number)",
        "a whole number of messages, at least 1",
    ),
    "batch that waits less than not": (
        GATHERER + HANDLER + "batch = { max_wait = -1 }\n",
        H0 + "batch.max_wait",
        "-1 (a number)",
        "a number of seconds, at least 0",
    ),
    "batch without handle_batch": (
        HEAD + HANDLER + "batch = {}\n",
        H0 + "batch",
        "it, but Room has no handle_batch",
        "a class that defines handle_batch",
    ),
    "batch of streams": (
        GATHERER + HANDLER + 'batch = {}\nmessages = "stream"\n',
        H0 + "batch",
        "it beside messages = 'stream'",
        "one of the two",
    ),
    "answers to streams": (
        HEAD + HANDLER + 'answers = { a = "b" }\nmessages = "stream"\n',
        H0 + "answers",
        "it beside messages = 'stream'",
        "one of the two",
    ),
    "answers no table": (HEAD + HANDLER + 'answers = "a"\n', H0 + "answers", "'a'", "a table"),
    "answer no text": (HEAD + HANDLER + "answers = { a = 1 }\n", H0 + "answers.a", "1 (a number)", "a text"),
    "low water above high water": (
        HEAD + HANDLER + "send_low_water = 65536\n",
        H0 + "send_low_water",
        "65536",
        "less than send_high_water (65536)",
    ),
    "one path twice": (
        HEAD + HANDLER + HANDLER,
        "handlers[1].path",
        "'/x', which handlers[0] serves already",
        "another path",
    ),
    "one shape twice": (
        HEAD + WEB + 'path = "/{a}"\n' + WEB + 'path = "/{b}"\n',
        "handlers[1].path",
        "'/{b}', which handlers[0] serves already",
        "another path",
    ),
    "TOML": ("name = \n", "", "a mistake in its TOML (Invalid value (at line 1", "a manifest in TOML"),
}


@pytest.mark.parametrize("what", ONE)
def test_one_mistake(what: str, write: Write) -> None:
    text, key, found, expected = ONE[what]
    file = write(text)
    [mistake] = mistakes(file)
    assert (mistake.file, mistake.key) == (file, key)
    assert mistake.found.startswith(found)
    assert expected in mistake.expected
    assert str(mistake).count("\n") == 0


def test_file_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "theater.toml"
    path.write_bytes(b'name = "\xff"')
    [mistake] = mistakes(str(path))
    assert mistake.found.startswith("a mistake in its TOML")


@pytest.mark.parametrize("name", ["nothing.toml", "nowhere"])
def test_file_that_is_missing(name: str, tmp_path: Path) -> None:
    path = str(tmp_path / name)
    assert mistakes(path) == [
        Mistake(path, "", "no such file", "a manifest, a folder with a theater.toml, or file.py:Class")
    ]


def test_folder_without_a_manifest(tmp_path: Path) -> None:
    [mistake] = mistakes(str(tmp_path))
    assert (mistake.file, mistake.found) == (str(tmp_path / "theater.toml"), "no such file")


def test_file_below_a_file(write: Write) -> None:
    [mistake] = mistakes(write(HEAD + HANDLER) + "/theater.toml")
    assert mistake.found == "not a directory"


def test_python_file_without_a_class(write: Write, tmp_path: Path) -> None:
    write("")
    path = str(tmp_path / "room.py")
    assert mistakes(path) == [Mistake(path, "", "a Python file without a class", "file.py:Class")]


@pytest.mark.parametrize(
    ("reference", "found"),
    [
        ("room.py:Nothing", "no 'Nothing' in"),
        ("room.py:Plain", "'Plain', which is no actor"),
        ("no.py:Room", "which is no file"),
        ("room.py:", "room.py:"),
    ],
)
def test_class_without_a_manifest_that_is_wrong(
    reference: str, found: str, write: Write, tmp_path: Path
) -> None:
    write("")
    argument = f"{tmp_path}/{reference}"
    [mistake] = mistakes(argument)
    assert (mistake.file, mistake.key) == (argument, "")
    assert found in mistake.found


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("x = 1\ny = (\n", "line 2"),
        ("x = 1\n\nraise RuntimeError('no\\nway')\n", "RuntimeError: no way (line 3)"),
        ("\nimport no_such_module_anywhere\n", "No module named 'no_such_module_anywhere' (line 2)"),
        ("def f():\n    1 / 0\n\nf()\n", "ZeroDivisionError: division by zero (line 2)"),
        ("raise SystemExit(3)\n", "SystemExit: 3 (line 1)"),
        ("import json\n\njson.loads('{')\n", "(line 3)"),
        ("import broken_neighbour\n", "broken_neighbour.py"),
    ],
)
def test_script_that_fails_to_load(script: str, found: str, write: Write, tmp_path: Path) -> None:
    (tmp_path / "broken_neighbour.py").write_text("\n\n\n\n)\n")
    (tmp_path / "broken.py").write_text(script)
    file = write('name = "x"\npython = "broken.py:X"\n' + HANDLER)
    [mistake] = mistakes(file)
    assert mistake.key == "python"
    assert mistake.found.startswith("'broken.py', which fails to load: ")
    assert found in mistake.found
    assert "\n" not in mistake.found
    assert mistake.expected == "a file that Python can import"


# Several


def test_all_mistakes_are_told_at_once(write: Write, tmp_path: Path) -> None:
    one = write('name = "A"\npython = 5\nx = 1\n[[handlers]]\ntype = "no"\n' + WEB + "path = 1\n")
    two = str(tmp_path / "missing.toml")
    found = mistakes(one, two)
    assert [(mistake.file, mistake.key) for mistake in found] == [
        (one, "x"),
        (one, "name"),
        (one, "python"),
        (one, "handlers[0].type"),
        (one, "handlers[1].path"),
        (two, ""),
    ]
    with pytest.raises(ConfigError) as error:
        load_manifests([one, two])
    assert str(error.value).splitlines() == [str(mistake) for mistake in found]


def test_same_name_twice(write: Write, tmp_path: Path) -> None:
    one = write(HEAD + HANDLER)
    two = write(HEAD + HANDLER.replace("/x", "/y"), "other.toml")
    assert mistakes(one, two) == [Mistake(two, "name", f"'room', as in {one}", "a name of its own")]


def test_one_path_in_two_manifests(write: Write) -> None:
    one = write(HEAD + HANDLER.replace("/x", "/{a}"))
    two = write(SITE + HANDLER.replace("/x", "/{b}"), "other.toml")
    assert mistakes(one, two) == [
        Mistake(
            two, "handlers[0].path", f"'/{{b}}', which handlers[0] of {one} serves already", "another path"
        )
    ]


def test_one_server_table_at_most(write: Write) -> None:
    one = write(HEAD + "server.hosts = []\n" + HANDLER)
    two = write(SITE + "[server]\n" + HANDLER.replace("/x", "/y"), "other.toml")
    expected = Mistake(two, "server", f"it in {one}, too", "one [server] for all manifests")
    assert mistakes(one, two) == [expected]


def test_limits_are_compared_with_what_the_server_will_be_given(write: Write) -> None:
    file = write(HEAD + "limits.send_low_water = 100_000\n" + HANDLER)
    assert len(mistakes(file)) == 1
    limits = Limits(send_high_water=200_000)
    assert load_manifests([file], limits)[0].limits == {"send_low_water": 100_000}


def test_one_path_may_have_both_kinds(write: Write) -> None:
    file = write(SITE + HANDLER + HTTP)
    assert len(load_manifests([file])[0].routes) == 2


def test_failed_script_is_loaded_anew(write: Write, tmp_path: Path) -> None:
    """As `run --reload` needs it."""
    file = write('name = "x"\npython = "later.py:Room"\n' + HANDLER)
    (tmp_path / "later.py").write_text("raise ValueError\n")
    assert len(mistakes(file)) == 1
    (tmp_path / "later.py").write_text(SCRIPT + "# now it is right\n")
    assert name_of_class(load_manifests([file])[0]) == "Room"
