"""Binaries inside of components: put in, or emptied.

<https://github.com/WebAssembly/component-model/blob/main/design/mvp/Binary.md> and
<https://webassembly.github.io/spec/core/binary/modules.html>.
"""

from typing import Final

from theater.wasm.binary import COMPONENT
from theater.wasm.sections import CODE, CORE, UNREACHABLE, Part, Unsupported, encode, sized

_CORE_MODULE_SECTION: Final = 1  # of a component
_COMPONENT_SECTION: Final = 4
_LEFT_OUT: Final = (0, 11, 12)  # of a core module: custom sections, data, and how many data there are


def fill(component: bytes, core: bytes) -> bytes:
    """Puts a core module into the place of the first one in a component."""
    parts = [COMPONENT]
    missing = True
    for section, part in Part(component, 0, len(component)).sections(COMPONENT):
        content = part.rest()
        if missing and section == _CORE_MODULE_SECTION:
            content, missing = core, False
        parts += [bytes((section,)), sized(content)]
    return b"".join(parts)


def hollow(code: bytes) -> bytes:
    """A component without code and data, which is compiled in no time, but has the same boundary.

    What is no component stays as it is, for wasmtime to say why.
    """
    try:
        return _hollow(code)
    except Unsupported:
        return code


def _hollow(code: bytes) -> bytes:
    preamble = COMPONENT if code.startswith(COMPONENT) else CORE
    parts = [preamble]
    for section, part in Part(code, 0, len(code)).sections(preamble):
        content = part.rest()
        if preamble == COMPONENT and section in (_CORE_MODULE_SECTION, _COMPONENT_SECTION):
            content = _hollow(content)
        elif preamble == CORE and section == CODE:
            count = part.number()
            if count > len(content):  # each takes more than a byte
                raise Unsupported("has more functions than bytes for them")
            content = encode(count) + sized(UNREACHABLE) * count
        elif preamble == CORE and section in _LEFT_OUT:
            continue
        parts += [bytes((section,)), sized(content)]
    return b"".join(parts)
