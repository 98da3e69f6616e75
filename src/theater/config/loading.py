"""From files to manifests, or to all that is wrong with them."""

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from theater.config.components import inspect_components, read_component
from theater.config.manifest import FILE_NAME, ComponentFile, Manifest, ServerSettings, overrides
from theater.config.resolving import contradictions, server_limits
from theater.config.scripts import load_actor
from theater.config.settings import Settings
from theater.config.tables import Table, show
from theater.errors import ConfigError, Mistake
from theater.limits import ActorLimits, ConnectionLimits, Limits
from theater.native.actor import Actor
from theater.runtime.address import TYPE_NAME
from theater.runtime.ports import Batch
from theater.server.origins import Origin
from theater.server.proxies import Proxies
from theater.server.routing import Kind, Pattern, Route, instance_parameters

if TYPE_CHECKING:
    from theater.wasm.component import Inspection

Served = type[Actor] | Manifest | str
"""What can be served: an actor class, a manifest, or what `theater run` takes."""

RESERVED: Final = "_theater"  # first segment of the server's own pages

_EXPECTED: Final = f"a manifest, a folder with a {FILE_NAME}, or file.py:Class"
_KINDS: Final[tuple[Kind, ...]] = ("websocket-server", "http-server")
_COMPONENT_KEYS: Final = ("component", "execution", "grants")
_KEYS: Final = ("name", "version", "python", *_COMPONENT_KEYS, "handlers", "limits", "server")
_COMMON_KEYS: Final = ("type", "path", "instance")
_WEBSOCKET_KEYS: Final = (*_COMMON_KEYS, "origins", "messages", "batch", "answers")
_HTTP_KEYS: Final = (*_COMMON_KEYS, "methods")
_BATCH: Final = {  # what its fields may be
    "max_messages": "a whole number of messages, at least 1",
    "max_wait": "a number of seconds, at least 0",
}
_METHOD: Final = re.compile(r"[A-Z][A-Z-]*")


def load_manifests(arguments: Iterable[str], limits: Limits = Limits()) -> list[Manifest]:
    """Reads what the command line names: manifests, folders that hold one, or `file.py:Class`.

    Args:
        arguments: paths.
        limits: what the server will be given, which those of the manifests must not contradict.

    Raises:
        ConfigError: with every mistake in all of them.
    """
    manifests, mistakes = _load_all(arguments, limits)
    if mistakes:
        raise ConfigError(mistakes)
    return manifests


def inspect_manifests(
    arguments: Iterable[str], limits: Limits = Limits()
) -> tuple[list[Manifest], dict[str, "Inspection"]]:
    """The same, and looks into components.

    Returns:
        The manifests, and what is known of the components by the names of the manifests.

    Raises:
        ConfigError: with every mistake in all of them.
    """
    manifests, mistakes = _load_all(arguments, limits)
    inspections = inspect_components(manifests, server_limits(manifests, limits), mistakes)
    if mistakes:
        raise ConfigError(mistakes)
    return manifests, inspections


def _load_all(arguments: Iterable[str], limits: Limits) -> tuple[list[Manifest], list[Mistake]]:
    """The manifests that can be read, and all mistakes."""
    mistakes: list[Mistake] = []
    manifests = [manifest for argument in arguments if (manifest := _load(argument, mistakes)) is not None]
    _check_together(manifests, mistakes)
    mistakes += contradictions(manifests, limits)
    return manifests, mistakes


def manifests_of(
    served: Iterable[Served], path: str = "/", instance: str = "", limits: Limits = Limits()
) -> list[Manifest]:
    """Manifests for what a program wants to serve.

    Args:
        served: what it is.
        path, instance: for actor classes, as in a manifest's handler.
        limits: as in `load_manifests`.

    Raises:
        ConfigError: with every mistake in one of them.
    """
    manifests = []
    for each in served:
        if isinstance(each, Manifest):
            manifests.append(each)
        elif isinstance(each, str):
            manifests += load_manifests([each], limits)
        else:
            manifests.append(Manifest.of(each, path, instance))
    return manifests


def _load(argument: str, mistakes: list[Mistake]) -> Manifest | None:
    file, colon, _ = argument.rpartition(":")
    if colon and file.endswith(".py"):
        actor = load_actor(argument, Path(), argument, "", mistakes)
        return None if actor is None else Manifest.of(actor, file=argument)
    path = Path(argument)
    if path.is_dir():
        path = path / FILE_NAME
    elif path.suffix == ".py":
        mistakes.append(Mistake(argument, "", "a Python file without a class", "file.py:Class"))
        return None
    elif path.suffix == ".wasm":
        mistakes.append(Mistake(argument, "", "a component", f"a manifest with component = {path.name!r}"))
        return None
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        mistakes.append(Mistake(str(path), "", f"a mistake in its TOML ({error})", "a manifest in TOML"))
    except OSError as error:
        problem = "no such file" if isinstance(error, FileNotFoundError) else str(error.strerror).lower()
        mistakes.append(Mistake(str(path), "", problem, _EXPECTED))
    else:
        return _ManifestReader(path, table, mistakes).read()
    return None


class _ManifestReader:
    """Turns one manifest's table into a `Manifest`, or into all of its mistakes.

    Args:
        path: of the manifest.
        values: what stands in it.
        mistakes: where mistakes are put.
    """

    def __init__(self, path: Path, values: dict[str, Any], mistakes: list[Mistake]) -> None:
        self._path = path
        self._file = str(path)
        self._mistakes = mistakes
        self._table = Table(values, self._file, "", mistakes)
        self._name = ""
        self._actor: type[Actor] | ComponentFile | None = None

    def read(self) -> Manifest | None:
        before = len(self._mistakes)
        table = self._table
        table.known(_KEYS)
        self._name = table.text("name", "a name such as 'chat'") or ""
        if self._name and not TYPE_NAME.fullmatch(self._name):
            expected = "lower-case letters, digits and hyphens, beginning with a letter, at most 64"
            table.mistake("name", repr(self._name), expected)
        version = table.text("version", "text such as '0.1.0'", "")
        self._actor = self._read_actor()
        limits = table.table("limits")
        limits.known((), ActorLimits)
        settings = limits.limits(ActorLimits)
        server = _server(table.table("server")) if "server" in table.values else None
        handlers = [self._handler(handler) for handler in table.tables("handlers")]
        if len(self._mistakes) > before or self._actor is None:
            return None
        read = [handler for handler in handlers if handler is not None]
        return Manifest(
            self._name,
            self._actor,
            tuple(route for route, _ in read),
            version or "",
            self._file,
            settings,
            tuple(route_settings for _, route_settings in read),
            server,
        )

    def _read_actor(self) -> type[Actor] | ComponentFile | None:
        """What the actor is: a class or a component."""
        table, folder = self._table, self._path.parent
        if "component" not in table.values:
            for key in ("execution", "grants"):
                if key in table.values:
                    table.mistake(key, "it without component", "it only there")
            python = table.text("python", "text such as 'chat.py:ChatRoom', or component")
            if python is None:
                return None
            return load_actor(self._file, folder, python, "python", self._mistakes)
        if "python" in table.values:
            table.mistake("component", "it beside python", "one of the two")
        return read_component(table, folder)

    def _handler(self, table: Table) -> tuple[Route, Settings] | None:
        kind = table.text("type", f"one of {', '.join(_KINDS)}")
        if kind is not None and kind not in _KINDS:
            table.mistake("type", repr(kind), f"one of {', '.join(_KINDS)}")
            return None
        if kind == "http-server":
            table.known(_HTTP_KEYS)
        else:
            table.known(_WEBSOCKET_KEYS if kind else (*_WEBSOCKET_KEYS, *_HTTP_KEYS), ConnectionLimits)
        pattern = _pattern(table)
        instance = table.text("instance", "text such as '{room}'", "")
        if instance and pattern is not None:
            _check_instance(table, instance, pattern)
        methods = _methods(table)
        options = self._options(table)
        settings = table.limits(ConnectionLimits)
        if kind is None or pattern is None:
            return None
        if kind == "http-server":
            self._needs(table, "type", "'http-server'", "handle_request")
        return Route(kind, pattern, self._name, instance or "", methods, **options), settings

    def _options(self, table: Table) -> dict[str, Any]:
        """Those fields of a route that only WebSockets have."""
        messages = table.text("messages", "whole or stream", "whole")
        if messages not in ("whole", "stream", None):
            table.mistake("messages", repr(messages), "whole or stream")
        stream = messages == "stream"
        for key in ("batch", "answers"):
            if stream and key in table.values:
                table.mistake(key, "it beside messages = 'stream'", "one of the two")
        return {
            "origins": table.texts(
                "origins",
                _is_origin,
                "an origin such as 'https://example.org' or 'https://*.example.org', or '*'",
            ),
            "stream": stream,
            "batch": self._batch(table),
            "answers": _answers(table.table("answers")),
        }

    def _batch(self, table: Table) -> Batch | None:
        if "batch" not in table.values:
            return None
        values = table.table("batch")
        values.known(Batch.__struct_fields__)
        self._needs(table, "batch", "it", "handle_batch")
        settings: dict[str, Any] = {}
        for field in msgspec.structs.fields(Batch):
            if field.name in values.values:
                value = values.values[field.name]
                try:
                    settings[field.name] = msgspec.convert(value, field.type)
                except msgspec.ValidationError:
                    values.mistake(field.name, show(value), _BATCH[field.name])
        return Batch(**settings)

    def _needs(self, table: Table, key: str, found: str, handler: str) -> None:
        """Finds it a mistake at a key if the actor is a class without such a handler."""
        if isinstance(self._actor, type) and not overrides(self._actor, handler):
            found = f"{found}, but {self._actor.__name__} has no {handler}"
            table.mistake(key, found, f"a class that defines {handler}")


def _answers(table: Table) -> dict[str, str]:
    for text, answer in table.values.items():
        if not isinstance(answer, str):
            table.mistake(text, show(answer), "a text")
    return table.values


def _server(table: Table) -> ServerSettings:
    table.known(("hosts", "trusted_proxies", "proxy_protocol", "limits"))
    limits = table.table("limits")
    limits.known((), Limits)
    policy: dict[str, tuple[str, ...] | bool] = {}
    expected = "a host such as 'example.org' or '*.example.org', without a port"
    policy["hosts"] = table.texts("hosts", _is_host, expected)
    expected = "an IP address, a network such as '10.0.0.0/8', or 'unix'"
    policy["trusted_proxies"] = table.texts("trusted_proxies", _is_proxy, expected)
    policy["proxy_protocol"] = table.flag("proxy_protocol")
    if policy["proxy_protocol"] and not table.values.get("trusted_proxies"):
        table.mistake("proxy_protocol", "true without trusted_proxies", "the proxies that send it there")
    return ServerSettings(
        {key: value for key, value in policy.items() if key in table.values}, limits.limits(Limits)
    )


def _pattern(table: Table) -> Pattern | None:
    text = table.text("path", "text such as '/rooms/{room}'")
    if text is None:
        return None
    try:
        pattern = Pattern(text)
    except ValueError as error:
        table.mistake("path", repr(text), str(error))
        return None
    if pattern.segments[0] == RESERVED:
        table.mistake("path", repr(text), f"a path outside /{RESERVED}, which is the server's own")
    return pattern


def _check_instance(table: Table, instance: str, pattern: Pattern) -> None:
    names = instance_parameters(instance)
    if names is None:
        table.mistake("instance", repr(instance), "text with whole {parameters}")
        return
    for name in names:
        if name not in pattern.parameters:
            table.mistake("instance", f"{{{name}}}", f"parameters of the path {pattern.text}")


def _methods(table: Table) -> tuple[str, ...]:
    methods = table.values.get("methods", [])
    if not isinstance(methods, list) or not all(isinstance(m, str) and _METHOD.fullmatch(m) for m in methods):
        table.mistake("methods", show(methods), "a list of HTTP methods such as ['GET', 'POST']")
        return ()
    return tuple(methods)


def _is_origin(text: str) -> bool:
    # The host of a wildcard is no host, so it is taken out for reading.
    return text in ("*", "null") or Origin.parse(text.replace("://*.", "://", 1)) is not None


def _is_host(text: str) -> bool:
    host = text.lower().removeprefix("*.")
    parsed = Origin.parse(f"http://{host}")
    return parsed is not None and parsed.host == host  # which it is not with a port


def _is_proxy(text: str) -> bool:
    try:
        Proxies([text])
    except ValueError:
        return False
    return True


def _check_together(manifests: list[Manifest], mistakes: list[Mistake]) -> None:
    """Finds what is wrong only between manifests and handlers: what is taken already."""
    names: dict[str, str] = {}
    taken: dict[tuple[object, ...], tuple[str, str]] = {}
    server = ""
    for manifest in manifests:
        if manifest.name in names:
            found = f"{manifest.name!r}, as in {names[manifest.name]}"
            mistakes.append(Mistake(manifest.file, "name", found, "a name of its own"))
        names[manifest.name] = manifest.file
        if manifest.server is not None:
            if server:
                found, expected = f"it in {server}, too", "one [server] for all manifests"
                mistakes.append(Mistake(manifest.file, "server", found, expected))
            server = manifest.file
        for index, route in enumerate(manifest.routes):
            key = f"handlers[{index}]"
            shape = (route.kind, *route.pattern.shape)
            if shape in taken:
                file, other = taken[shape]
                where = other if file == manifest.file else f"{other} of {file}"
                found = f"{route.pattern.text!r}, which {where} serves already"
                mistakes.append(Mistake(manifest.file, f"{key}.path", found, "another path"))
            taken[shape] = (manifest.file, key)
