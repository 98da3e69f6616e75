"""Classes of values."""

import sys
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, dataclass_transform


class _NoDefault:
    def __repr__(self) -> str:
        return "NODEFAULT"


NODEFAULT: Any = _NoDefault()
"""Stands where a field has no default."""


class Field(NamedTuple):
    """What `field` says about a field."""

    default: Any = NODEFAULT
    default_factory: Any = NODEFAULT
    name: str | None = None


def field(*, default: Any = NODEFAULT, default_factory: Any = NODEFAULT, name: str | None = None) -> Any:
    """A field's default, or what makes one, and its name in JSON."""
    if default is not NODEFAULT and default_factory is not NODEFAULT:
        raise TypeError("Cannot set both `default` and `default_factory`")
    return Field(default, default_factory, name)


class Meta(NamedTuple):
    """What `Annotated[type, Meta(...)]` asks of a value besides its type."""

    gt: float | None = None
    ge: float | None = None
    lt: float | None = None
    le: float | None = None
    multiple_of: float | None = None
    pattern: str | None = None
    min_length: int | None = None
    max_length: int | None = None
    title: str | None = None
    description: str | None = None
    examples: list[Any] | None = None
    extra_json_schema: dict[str, Any] | None = None
    extra: dict[str, Any] | None = None


class Config(NamedTuple):
    """The options of a struct; `gc` and `cache_hash` make no difference here."""

    frozen: bool = False
    eq: bool = True
    kw_only: bool = False
    omit_defaults: bool = False
    forbid_unknown_fields: bool = False
    weakref: bool = False
    gc: bool = True
    cache_hash: bool = False
    tag: Any = None
    tag_field: str | None = None


_MUTABLE = (list, dict, set, bytearray)
_OWN = frozenset(("kw_only", "weakref"))  # options that a subclass does not inherit


@dataclass_transform(field_specifiers=(field,))
class StructMeta(type):
    """Makes struct classes: slots, `__init__`, and how fields stand in JSON."""

    __struct_fields__: tuple[str, ...]
    __struct_encode_fields__: tuple[str, ...]
    __struct_config__: Config
    __struct_tag__: str | int | None
    __struct_tag_field__: str | None
    __struct_factories__: dict[str, Callable[[], Any]]
    __struct_keyword_only__: frozenset[str]

    def __new__(
        cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any
    ) -> "StructMeta":
        unknown = options.keys() - set(Config._fields)
        if unknown:
            raise TypeError(f"components have no structs with the option {min(unknown)!r}")
        parents = [base for base in bases if isinstance(base, StructMeta)]
        inherited = {
            option: value
            for base in reversed(parents)
            for option, value in base.__struct_config__._asdict().items()
            if option not in _OWN
        }
        config = Config(**{**inherited, **options})
        own = {
            field: namespace.pop(field, NODEFAULT) for field in _annotations(namespace) if field != "return"
        }
        namespace["__slots__"] = (
            *(field for field in own if not any(field in base.__struct_fields__ for base in parents)),
            *(("__weakref__",) if config.weakref else ()),
        )
        created = super().__new__(cls, name, bases, namespace)
        _describe(created, parents, own, config)
        return created

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any) -> None:
        super().__init__(name, bases, namespace)


def _annotations(namespace: dict[str, Any]) -> list[str]:
    """The names of a class body's fields."""
    if sys.version_info >= (3, 14):
        import annotationlib

        annotate = annotationlib.get_annotate_from_class_namespace(namespace)
        found = (
            {}
            if annotate is None
            else annotationlib.call_annotate_function(annotate, annotationlib.Format.STRING)
        )
    else:
        found = namespace.get("__annotations__", {})
    return [name for name, kind in found.items() if "ClassVar" not in str(kind)]


def _describe(struct: StructMeta, parents: list[StructMeta], own: dict[str, Any], config: Config) -> None:
    names: dict[str, str] = {}  # in Python: in JSON
    factories: dict[str, Callable[[], Any]] = {}
    keyword_only: set[str] = set()
    for base in reversed(parents):
        names.update(zip(base.__struct_fields__, base.__struct_encode_fields__, strict=True))
        factories.update(base.__struct_factories__)
        keyword_only.update(base.__struct_keyword_only__)
    for name, given in own.items():
        names[name] = given.name if isinstance(given, Field) and given.name else name
        factories.pop(name, None)
        keyword_only.discard(name)
        factory = _factory(given)
        if factory is not None:
            factories[name] = factory
        if config.kw_only:
            keyword_only.add(name)
    # Those that only have a name come last, as their parameters do.
    order = sorted(names, key=keyword_only.__contains__)
    struct.__struct_fields__ = tuple(order)
    struct.__struct_encode_fields__ = tuple(names[name] for name in order)
    struct.__struct_config__ = config
    struct.__struct_factories__ = factories
    struct.__struct_keyword_only__ = frozenset(keyword_only)
    struct.__struct_tag__, struct.__struct_tag_field__ = _tag(struct, config)
    positions = tuple(name for name in order if name not in keyword_only)
    setattr(struct, "__match_args__", positions)  # noqa: B010  # mypy knows better
    struct.__init__ = _make_init(struct)  # type: ignore[misc]
    if config.frozen:
        struct.__setattr__ = _refuse_change  # type: ignore[method-assign, assignment]
        struct.__delattr__ = _refuse_change  # type: ignore[method-assign, assignment]
    if "__hash__" not in struct.__dict__ and config.eq:
        struct.__hash__ = _hash if config.frozen else None  # type: ignore[assignment, method-assign]


def _factory(given: Any) -> Callable[[], Any] | None:
    """What makes a field's default."""
    if isinstance(given, Field):
        if given.default_factory is not NODEFAULT:
            return given.default_factory  # type: ignore[no-any-return]
        given = given.default
    if given is NODEFAULT:
        return None
    if isinstance(given, _MUTABLE):
        if given:
            raise TypeError(
                f"default value of type `{type(given).__name__}` must be empty; use a `default_factory`"
            )
        return type(given)
    return lambda: given


def _tag(struct: StructMeta, config: Config) -> tuple[str | int | None, str | None]:
    tag = config.tag
    if tag is None and config.tag_field is not None:
        tag = True
    if tag is None or tag is False:
        return None, None
    if tag is True:
        tag = struct.__name__
    elif callable(tag):
        tag = tag(struct.__name__)
    return tag, config.tag_field or "type"


def _make_init(struct: StructMeta) -> Any:
    """Writes the `__init__` of a struct, which sets slots directly: a frozen one has no other way."""
    known: dict[str, Any] = {"NODEFAULT": NODEFAULT}
    positional, keyword, body = [], [], []
    optional = False
    for name in struct.__struct_fields__:
        known[f"set_{name}"] = getattr(struct, name).__set__
        factory = struct.__struct_factories__.get(name)
        parameter = name
        if factory is not None:
            known[f"make_{name}"] = factory
            parameter = f"{name}=NODEFAULT"
            body.append(f"    if {name} is NODEFAULT: {name} = make_{name}()")
        if name in struct.__struct_keyword_only__:
            keyword.append(parameter)
        else:
            if optional and factory is None:
                raise TypeError(
                    f"Required field '{name}' cannot follow optional fields. Either reorder the struct "
                    "fields, or set `kw_only=True` in the struct definition."
                )
            optional = factory is not None
            positional.append(parameter)
        body.append(f"    set_{name}(self, {name})")
    if hasattr(struct, "__post_init__"):
        body.append("    self.__post_init__()")
    parameters = ["self", *positional, *(["*", *keyword] if keyword else [])]
    exec(f"def __init__({', '.join(parameters)}):\n" + "\n".join(body or ["    pass"]), known)  # noqa: S102
    init = known["__init__"]
    init.__qualname__ = f"{struct.__qualname__}.__init__"
    init.__module__ = struct.__module__
    return init


def _refuse_change(self: "Struct", *_: object) -> None:
    raise AttributeError(f"immutable type: '{type(self).__name__}'")


def _hash(self: "Struct") -> int:
    return hash((type(self), *(getattr(self, name) for name in self.__struct_fields__)))


def _rebuild(struct: type["Struct"], values: tuple[Any, ...]) -> "Struct":
    made = struct.__new__(struct)
    for name, value in zip(struct.__struct_fields__, values, strict=True):
        getattr(struct, name).__set__(made, value)
    return made


class Struct(metaclass=StructMeta):
    """Base of classes whose instances are values: fields in slots, comparable, usable in `match`."""

    __struct_fields__: ClassVar[tuple[str, ...]]
    __struct_encode_fields__: ClassVar[tuple[str, ...]]
    __struct_config__: ClassVar[Config]
    __struct_tag__: ClassVar[str | int | None]
    __struct_tag_field__: ClassVar[str | None]
    __struct_factories__: ClassVar[dict[str, Callable[[], Any]]]

    def __eq__(self, other: object) -> bool:
        if not self.__struct_config__.eq:
            return self is other
        if type(self) is not type(other):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__struct_fields__)

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__struct_fields__)
        return f"{type(self).__name__}({values})"

    def __copy__(self) -> "Struct":
        return _rebuild(type(self), self.__reduce__()[1][1])

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return _rebuild, (type(self), tuple(getattr(self, name) for name in self.__struct_fields__))
