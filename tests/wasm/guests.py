"""Guests in WebAssembly's text format: small enough to be read, some of them hostile.

Each function returns a component. Addresses below 4,096 are for results, above is a heap that is emptied
when the host has read a result. The layouts of results are those of the canonical ABI: in each result of a
handler the first byte says whether it is an error, whose text is at 4 and its length at 8.
"""

from collections.abc import Sequence
from functools import cache
from typing import Final, Literal, get_args

from theater.build.wrap import wrap
from theater.wasm.wat import assemble

EXPORTS: Final = {
    "init": "lifecycle",
    "upgrade-connection": "websocket-upgrade",
    "handle-websocket": "websocket-actor",
    "handle-chunk": "stream-actor",
    "handle-request": "http-actor",
    "handle-message": "message-actor",
}

HEAP: Final = """
  (memory (export "memory") 1)
  (global $heap (mut i32) (i32.const 4096))
  (func $allocate (export "cabi_realloc")
      (param $old i32) (param $old-size i32) (param $align i32) (param $size i32) (result i32)
    (local $new i32)
    (local.set $new (i32.and
      (i32.add (global.get $heap) (i32.sub (local.get $align) (i32.const 1)))
      (i32.sub (i32.const 0) (local.get $align))))
    (global.set $heap (i32.add (local.get $new) (local.get $size)))
    (loop $grow
      (if (i32.gt_u (global.get $heap) (i32.shl (memory.size) (i32.const 16))) (then
        (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then (unreachable)))
        (br $grow))))
    (memory.copy (local.get $new) (local.get $old)
      (select (local.get $old-size) (local.get $size) (i32.lt_u (local.get $old-size) (local.get $size))))
    (local.get $new))
  (func $reset (param i32) (global.set $heap (i32.const 4096)))
"""

REPLY: Final = """
  (func $nothing (result i32)  ;; ok, no messages
    (i64.store (i32.const 0) (i64.const 0))
    (i32.store (i32.const 8) (i32.const 0))
    (i32.const 0))
  (func $reply (param $kind i32) (param $at i32) (param $length i32) (result i32)  ;; ok, one message
    (i32.store8 (i32.const 0) (i32.const 0))
    (i32.store (i32.const 4) (i32.const 16))
    (i32.store (i32.const 8) (i32.const 1))
    (i32.store8 (i32.const 16) (local.get $kind))
    (i32.store (i32.const 20) (local.get $at))
    (i32.store (i32.const 24) (local.get $length))
    (i32.const 0))
"""


def guest(handlers: dict[str, str], code: str = "", imports: Sequence[str] = ()) -> bytes:
    """A guest of contract 0.2.0.

    Args:
        handlers: by name, parameters and body.
        code: functions, memory contents.
        imports: functions of the host: interface, name, and the rest of the import, such as
            `'state get-state (func $get-state (param i32))'`.
    """
    parts = []
    for each in imports:
        interface, name, rest = each.split(maxsplit=2)
        parts.append(f'(import "theater:websocket/{interface}@0.2.0" "{name}" {rest})')
    parts += [HEAP, REPLY, code]
    for name, body in handlers.items():
        symbol = f"theater:websocket/{EXPORTS[name]}@0.2.0#{name}"
        parts.append(f'(func (export "{symbol}") {body})\n(export "cabi_post_{symbol}" (func $reset))')
    return wrap(assemble(f"(module {' '.join(parts)})"))


EVENT: Final = """
  (param $connection i64) (param $event i32) (param $kind i64) (param $at i32) (param $length i32)
  (result i32)
"""
IS_MESSAGE: Final = """
  (i32.and (i32.eq (local.get $event) (i32.const 1)) (i64.lt_u (local.get $kind) (i64.const 2)))
"""
ECHO: Final = f"""
  (if (result i32) {IS_MESSAGE}
    (then (call $reply (i32.wrap_i64 (local.get $kind)) (local.get $at) (local.get $length)))
    (else (call $nothing)))
"""


@cache
def echo() -> bytes:
    """Answers texts and binary messages with themselves."""
    return guest({"handle-websocket": EVENT + ECHO})


@cache
def echo_0_1_0() -> bytes:
    """The same by the contract 0.1.0."""
    symbol = "theater:websocket/websocket-actor@0.1.0#handle-websocket"
    return wrap(
        assemble(f"""(module {HEAP}
  (func (export "{symbol}")
      (param $event i32) (param $kind i32) (param $at i32) (param $length i32) (result i32)
    (i32.store8 (i32.const 0)  ;; whether there is a message
      (i32.and (i32.eq (local.get $event) (i32.const 1)) (i32.lt_u (local.get $kind) (i32.const 2))))
    (i32.store8 (i32.const 4) (local.get $kind))
    (i32.store (i32.const 8) (local.get $at))
    (i32.store (i32.const 12) (local.get $length))
    (i32.const 0))
  (export "cabi_post_{symbol}" (func $reset)))""")
    )


# Guests that keep and ask

NUMBERS: Final = """
  (func $read (param $at i32) (param $length i32) (result i32)  ;; a number in decimal digits
    (local $number i32)
    (loop $next
      (if (local.get $length) (then
        (local.set $number (i32.add
          (i32.mul (local.get $number) (i32.const 10))
          (i32.sub (i32.load8_u (local.get $at)) (i32.const 48))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (local.set $length (i32.sub (local.get $length) (i32.const 1)))
        (br $next))))
    (local.get $number))
  (func $write (param $number i32) (result i32)  ;; the same into memory, its end at 1,024; where it begins
    (local $at i32)
    (local.set $at (i32.const 1024))
    (loop $next
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (i32.store8 (local.get $at) (i32.add (i32.const 48) (i32.rem_u (local.get $number) (i32.const 10))))
      (br_if $next (local.tee $number (i32.div_u (local.get $number) (i32.const 10)))))
    (local.get $at))
"""


@cache
def growing(at_first: int = 0) -> bytes:
    """Answers texts with how many it has had, and takes as many pages as the first letter, from a, says.

    Of a message that comes in pieces, each counts, and takes 7 pages.

    Args:
        at_first: pages that its `init` takes.
    """
    return guest(
        {
            "init": f"""(result i32) (drop (memory.grow (i32.const {at_first}))) (i32.const 64)""",
            "handle-websocket": f"""{EVENT}
    (if (i32.eqz {IS_MESSAGE}) (then (return (call $nothing))))
    (call $count (i32.sub (i32.load8_u (local.get $at)) (i32.const 97)))""",
            "handle-chunk": "(param i64 i32 i32 i32 i32) (result i32) (call $count (i32.const 7))",
        },
        NUMBERS
        + """(global $count (mut i32) (i32.const 0))
  (func $count (param $pages i32) (result i32)
    (local $digits i32)
    (drop (memory.grow (local.get $pages)))
    (global.set $count (i32.add (global.get $count) (i32.const 1)))
    (local.set $digits (call $write (global.get $count)))
    (call $reply (i32.const 0) (local.get $digits) (i32.sub (i32.const 1024) (local.get $digits))))""",
    )


@cache
def counter() -> bytes:
    """Counts messages in its state, and answers with the number.

    When it has counted a message that begins with `!`, it traps.
    """
    return guest(
        {
            "handle-websocket": f"""{EVENT}
    (local $digits i32)
    (if (i32.eqz {IS_MESSAGE}) (then (return (call $nothing))))
    (call $get-state (i32.const 32))
    (local.set $digits (call $write (i32.add (i32.const 1)
      (if (result i32) (i32.load8_u (i32.const 32))
        (then (call $read (i32.load (i32.const 36)) (i32.load (i32.const 40))))
        (else (i32.const 0))))))
    (call $set-state (i32.const 1) (local.get $digits) (i32.sub (i32.const 1024) (local.get $digits))
      (i32.const 32))
    (if (i32.load8_u (i32.const 32)) (then (unreachable)))  ;; the host refused
    (if (i32.and (i32.gt_u (local.get $length) (i32.const 0))
        (i32.eq (i32.load8_u (local.get $at)) (i32.const 33))) (then (unreachable)))
    (call $reply (i32.const 0) (local.get $digits) (i32.sub (i32.const 1024) (local.get $digits)))"""
        },
        NUMBERS,
        [
            "state get-state (func $get-state (param i32))",
            "state set-state (func $set-state (param i32 i32 i32 i32))",
        ],
    )


@cache
def asker(type: str = "answerer", key: str = "") -> bytes:
    """Sends messages on to another actor, waits, and answers with what that one returned.

    With the text `none` if that was nothing, and with `error 4` if the request failed with case 4 of
    `actor-error`.
    """
    return guest(
        {
            "handle-websocket": f"""{EVENT}
    (if (i32.eqz {IS_MESSAGE}) (then (return (call $nothing))))
    (call $request
      (i32.const 2048) (i32.const {len(type)}) (i32.const 3072) (i32.const {len(key)})
      (i32.wrap_i64 (local.get $kind)) (local.get $at) (local.get $length)
      (i32.const 0) (f64.const 0) (i32.const 32))
    (if (i32.load8_u (i32.const 32)) (then
      (i32.store8 (i32.const 106) (i32.add (i32.const 48) (i32.load8_u (i32.const 36))))
      (return (call $reply (i32.const 0) (i32.const 100) (i32.const 7)))))
    (if (i32.eqz (i32.load8_u (i32.const 36))) (then
      (return (call $reply (i32.const 0) (i32.const 110) (i32.const 4)))))
    (call $reply (i32.load8_u (i32.const 40)) (i32.load (i32.const 44)) (i32.load (i32.const 48)))"""
        },
        f"""
  (data (i32.const 100) "error ?") (data (i32.const 110) "none")
  (data (i32.const 2048) "{type}") (data (i32.const 3072) "{key}")""",
        [
            "actors request (func $request (param i32 i32 i32 i32 i32 i32 i32 i32 f64 i32))",
        ],
    )


@cache
def answerer() -> bytes:
    """Answers what other actors send with itself; traps at what begins with `!`."""
    return guest(
        {
            "handle-message": """
    (param $kind i32) (param $at i32) (param $length i32) (param i32 i32 i32 i32) (result i32)
    (if (i32.and (i32.gt_u (local.get $length) (i32.const 0))
        (i32.eq (i32.load8_u (local.get $at)) (i32.const 33))) (then (unreachable)))
    (i32.store8 (i32.const 0) (i32.const 0))
    (i32.store8 (i32.const 4) (i32.const 1))
    (i32.store8 (i32.const 8) (local.get $kind))
    (i32.store (i32.const 12) (local.get $at))
    (i32.store (i32.const 16) (local.get $length))
    (i32.const 0)"""
        }
    )


# Hostile guests

Where = Literal["init", "upgrade-connection", "handle-websocket", "handle-request"]
What = Literal[
    "spin",  # computes for ever
    "memory",  # takes memory until it gets no more, and traps
    "recursion",  # until the stack is full
    "unreachable",  # traps
    "send-flood",  # 20,000 messages of 100 bytes to the connection, whatever the host says
    "unknown-connection",  # does all that can be done to a connection, to one that is not there
    "error",  # returns the error `no`
    "huge-error",  # returns an error of 4 MiB
    "invalid-utf8",  # returns an error that is no UTF-8
    "bad-pointer",  # returns a result outside of its memory
    "huge-reply",  # returns 4 MiB: as a binary message, a body, the body of a refusal; not from init
    "bad-close",  # returns a close with code 1005, which must not be sent; from handle-websocket
    "bad-status",  # returns a response with status 99; from upgrade-connection and handle-request
    "bad-header",  # returns a response with a line break in a header; likewise
]

PARAMETERS: Final[dict[Where, str]] = {
    "init": "(result i32)",
    "upgrade-connection": f"(param {'i32 ' * 14}) (result i32)",
    "handle-request": f"(param {'i32 ' * 16}) (result i32)",
}
FINE: Final[dict[Where, str]] = {  # in memory that is all zeros
    "init": "(i32.const 0)",
    "upgrade-connection": "(i32.store8 (i32.const 4) (i32.const 1)) (i32.const 0)",  # accepts
    "handle-websocket": "(call $nothing)",
    "handle-request": "(i32.store16 (i32.const 4) (i32.const 200)) (i32.const 0)",  # an empty response
}
IS_PROVOKING: Final = f"""
  (if (result i32) {IS_MESSAGE}
    (then (i32.and (i32.gt_u (local.get $length) (i32.const 0))
      (i32.eq (i32.load8_u (local.get $at)) (i32.const 33))))
    (else (i32.const 0)))
"""
DEEDS: Final[dict[What, str]] = {
    "spin": "(loop $on (br $on))",
    "memory": "(loop $on (br_if $on (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) (unreachable)",
    "recursion": "(drop (call $recurse (i32.const 0)))",
    "unreachable": "(unreachable)",
    "send-flood": "(call $flood (global.get $connection))",
    "unknown-connection": "(call $meddle (i64.const -1))",
}
RESULTS: Final[dict[What, str]] = {
    "error": "(call $fail (i32.const 100) (i32.const 2))",
    "huge-error": "(call $fail (call $huge) (i32.const 0x400000))",
    "invalid-utf8": "(call $fail (i32.const 102) (i32.const 2))",
    "bad-pointer": "(i32.const -16)",
}
REFUSED: Final = "(i64.store (i32.const 4) (i64.const 0x100000001))"  # there is a decision, a response
HUGE: Final = "(i32.const 200) (i32.const 0) (call $huge) (i32.const 0x400000)"
BAD_STATUS: Final = "(i32.const 99) (i32.const 0) (i32.const 0) (i32.const 0)"
BAD_HEADER: Final = "(i32.const 200) (i32.const 1) (i32.const 0) (i32.const 0)"
REPLIES: Final[dict[tuple[Where, What], str]] = {
    ("handle-websocket", "huge-reply"): "(call $reply (i32.const 1) (call $huge) (i32.const 0x400000))",
    ("handle-websocket", "bad-close"): "(call $reply (i32.const 4) (i32.const 1005) (i32.const 0))",
    ("handle-request", "huge-reply"): f"(call $respond (i32.const 4) {HUGE})",
    ("handle-request", "bad-status"): f"(call $respond (i32.const 4) {BAD_STATUS})",
    ("handle-request", "bad-header"): f"(call $respond (i32.const 4) {BAD_HEADER})",
    ("upgrade-connection", "huge-reply"): f"{REFUSED} (call $respond (i32.const 12) {HUGE})",
    ("upgrade-connection", "bad-status"): f"{REFUSED} (call $respond (i32.const 12) {BAD_STATUS})",
    ("upgrade-connection", "bad-header"): f"{REFUSED} (call $respond (i32.const 12) {BAD_HEADER})",
}

CODE: Final = r"""
  (global $connection (mut i64) (i64.const 1))
  (data (i32.const 100) "no\ff\fe") (data (i32.const 110) "xa\nb")
  (data (i32.const 200) "\6e\00\00\00\01\00\00\00\6f\00\00\00\03\00\00\00")  ;; the header x with a, \n, b
  (func $fail (param $at i32) (param $length i32) (result i32)
    (i32.store8 (i32.const 0) (i32.const 1))
    (i32.store (i32.const 4) (local.get $at))
    (i32.store (i32.const 8) (local.get $length))
    (i32.const 0))
  (func $huge (result i32)  ;; where there are 4 MiB of `x`
    (local $at i32)
    (local.set $at (call $allocate (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 0x400000)))
    (memory.fill (local.get $at) (i32.const 120) (i32.const 0x400000))
    (local.get $at))
  (func $respond
      (param $at i32) (param $status i32) (param $headers i32) (param $body i32) (param $length i32)
      (result i32)
    (i32.store16 (local.get $at) (local.get $status))
    (i32.store offset=4 (local.get $at) (i32.const 200))
    (i32.store offset=8 (local.get $at) (local.get $headers))
    (i32.store offset=12 (local.get $at) (local.get $body))
    (i32.store offset=16 (local.get $at) (local.get $length))
    (i32.const 0))
  (func $recurse (param $depth i32) (result i32)
    (i32.add (call $recurse (i32.add (local.get $depth) (i32.const 1))) (local.get $depth)))
  (func $send-bytes (param $connection i64) (param $length i32)
    (call $send (local.get $connection) (i32.const 1) (i32.const 0) (local.get $length)
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 64)))
  (func $flood (param $connection i64)
    (local $left i32)
    (local.set $left (i32.const 20000))
    (loop $on
      (call $send-bytes (local.get $connection) (i32.const 100))
      (call $reset (i32.const 0))  ;; forgets what the host said
      (br_if $on (local.tee $left (i32.sub (local.get $left) (i32.const 1))))))
  (func $meddle (param $connection i64)
    (call $send-bytes (local.get $connection) (i32.const 2))
    (call $close (local.get $connection) (i32.const 1000) (i32.const 0) (i32.const 0) (i32.const 64))
    (drop (call $get-waiting (local.get $connection)))
    (call $drained (local.get $connection))
    (call $get-tags (local.get $connection) (i32.const 64))
    (call $set-tags (local.get $connection) (i32.const 0) (i32.const 0) (i32.const 64))
    (call $get-attachment (local.get $connection) (i32.const 64))
    (call $set-attachment (local.get $connection) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 64))
    (call $find-connection (local.get $connection) (i32.const 512)))
"""
CALLS: Final = (
    "websocket send-message (func $send (param i64 i32 i32 i32 i32 i32 i32 i32 i32 i32))",
    "websocket close-connection (func $close (param i64 i32 i32 i32 i32))",
    "websocket get-waiting (func $get-waiting (param i64) (result i64))",
    "websocket drained (func $drained (param i64))",
    "websocket get-tags (func $get-tags (param i64 i32))",
    "websocket set-tags (func $set-tags (param i64 i32 i32 i32))",
    "websocket get-attachment (func $get-attachment (param i64 i32))",
    "websocket set-attachment (func $set-attachment (param i64 i32 i32 i32 i32))",
    "websocket find-connection (func $find-connection (param i64 i32))",
)


@cache
def hostile(where: Where, what: What) -> bytes:
    """Does what it should not, whenever one of its handlers is called; besides it is an echo.

    In `handle-websocket` only at a message that begins with `!`.
    """
    deed = DEEDS.get(what, "")
    result = REPLIES.get((where, what)) or RESULTS.get(what) or (FINE[where] if deed else "")
    if not result:
        raise ValueError(f"no {what} from {where}")
    handlers = {"handle-websocket": EVENT + ECHO}
    if where == "handle-websocket":
        provoked = f"(global.set $connection (local.get $connection)) {deed} {result}"
        handlers[where] = f"""{EVENT}
    (if (result i32) {IS_PROVOKING} (then {provoked}) (else {ECHO}))"""
    else:
        empty = "(memory.fill (i32.const 0) (i32.const 0) (i32.const 64))"
        handlers[where] = f"{PARAMETERS[where]} {deed} {empty} {result}"
    return guest(handlers, CODE, CALLS)


def all_hostile() -> list[tuple[Where, What]]:
    """What can be asked of `hostile`."""
    places: list[Where] = [*get_args(Where)]
    everywhere: list[What] = [*DEEDS, *RESULTS]
    return [(where, what) for where in places for what in everywhere] + [*REPLIES]
