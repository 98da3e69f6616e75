"""Core modules that import the same under other names, and export only what is used."""

from collections.abc import Collection, Mapping

from theater.wasm.sections import CORE, EXPORTS, IMPORTS, Part, Unsupported, encode, read_import, sized

Name = tuple[str, str]
"""Of an import: names of module and field."""


def renamed(code: bytes, names: Mapping[Name, Name], used: Collection[str]) -> bytes:
    """A core module with other imports and fewer exports.

    Args:
        code: in binary form.
        names: of what it imports, and the names that there are to be instead.
        used: names of what it is still to export.

    Raises:
        Unsupported: it is built in a way that is not understood, or has an import without another name.
    """
    sections = [CORE]
    for number, section in Part(code, 0, len(code)).sections(CORE):
        if number == IMPORTS:
            content = _imports(section, names)
        elif number == EXPORTS:
            content = _exports(section, used)
        else:
            content = section.rest()
        sections += [bytes((number,)), sized(content)]
    return b"".join(sections)


def _imports(section: Part, names: Mapping[Name, Name]) -> bytes:
    count = section.number()
    items = [encode(count)]
    for _ in range(count):
        start = Part(section.data, section.at, section.end)
        found = read_import(section)
        name = names.get((found.module, found.name))
        if name is None:
            raise Unsupported(f"imports {found.name} of {found.module}, which is not there")
        start.name()
        start.name()
        items += [sized(each.encode()) for each in name]
        items.append(section.data[start.at : section.at])
    return b"".join(items)


def _exports(section: Part, used: Collection[str]) -> bytes:
    items = []
    for _ in range(section.number()):
        start = section.at
        name = section.name()
        section.byte()  # what it is, and its index
        section.number()
        if name in used:
            items.append(section.data[start : section.at])
    return encode(len(items)) + b"".join(items)
