"""The conformance actor in WebAssembly's text format: those of its commands that are bearable there."""

from typing import Final

from tests.wasm.guests import EVENT, IS_MESSAGE, NUMBERS, guest

FEATURES: Final = frozenset(
    ("attachments", "broadcasts", "closing", "failures", "log", "random", "sends", "state")
)
"""What it does."""


def _escaped(text: str) -> str:
    return "".join(f"\\{byte:02x}" for byte in text.encode())


class Words:
    """Texts in the module's memory, from 1,024 on."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self._end = 1024

    def __call__(self, text: str) -> str:
        """The two values that stand for a text."""
        if text not in self._places:
            self._places[text] = self._end
            self._end += len(text)
        return f"(i32.const {self._places[text]}) (i32.const {len(text)})"

    def data(self) -> str:
        """What the module has in its memory."""
        assert self._end <= 4096, "the heap begins there"
        return "".join(
            f'(data (i32.const {place}) "{_escaped(text)}")' for text, place in self._places.items()
        )


IMPORTS: Final = (
    "websocket send-message (func $send (param i64 i32 i32 i32 i32 i32 i32 i32 i32 i32))",
    "websocket close-connection (func $close (param i64 i32 i32 i32 i32))",
    "websocket get-attachment (func $get-attachment (param i64 i32))",
    "websocket set-attachment (func $set-attachment (param i64 i32 i32 i32 i32))",
    "websocket broadcast (func $broadcast (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32))",
    "state get-state (func $get-state (param i32))",
    "state set-state (func $set-state (param i32 i32 i32 i32))",
    "host log (func $log (param i32 i32 i32))",
    "host random (func $random (param i32 i32))",
)

COMMAND: Final = "(param $connection i64) (param $at i32) (param $length i32) (result i32)"

# What the host returns is put at 32, messages of a reply from 64 on, 16 bytes each.
HELPERS: Final = f"""
  {NUMBERS}
  (func $failed (param $at i32) (param $length i32) (result i32)  ;; an error
    (i32.store8 (i32.const 0) (i32.const 1))
    (i32.store (i32.const 4) (local.get $at))
    (i32.store (i32.const 8) (local.get $length))
    (i32.const 0))
  (func $done (result i32)  ;; ok, or an error if the host has refused
    (if (result i32) (i32.load8_u (i32.const 32))
      (then (call $failed (i32.load (i32.const 36)) (i32.load (i32.const 40))))
      (else (call $nothing))))
  (func $messages (param $count i32) (result i32)
    (i32.store8 (i32.const 0) (i32.const 0))
    (i32.store (i32.const 4) (i32.const 64))
    (i32.store (i32.const 8) (local.get $count))
    (i32.const 0))
  (func $message (param $place i32) (param $kind i32) (param $at i32) (param $length i32)
    (i32.store8 (local.get $place) (local.get $kind))
    (i32.store offset=4 (local.get $place) (local.get $at))
    (i32.store offset=8 (local.get $place) (local.get $length)))
  (func $send-text (param $connection i64) (param $at i32) (param $length i32)
    (call $send (local.get $connection) (i32.const 0) (local.get $at) (local.get $length) (i32.const 0)
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 32)))
  (func $broadcast-text (param $at i32) (param $length i32) (param $excluded i32)
    (call $broadcast (i32.const 0) (local.get $at) (local.get $length) (i32.const 0)
      (i32.const 128) (local.get $excluded)
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
      (i32.const 1) (i32.const 32)))
  (func $kept (param $at i32) (param $length i32) (result i32)  ;; whether the JSON is not null
    (i32.ne (i32.load8_u (local.get $at)) (i32.const {ord("n")})))
  (func $space (param $at i32) (param $length i32) (result i32)  ;; bytes before the first space
    (local $count i32)
    (block $found (loop $next
      (br_if $found (i32.eq (local.get $count) (local.get $length)))
      (br_if $found (i32.eq (i32.load8_u (i32.add (local.get $at) (local.get $count))) (i32.const 32)))
      (local.set $count (i32.add (local.get $count) (i32.const 1)))
      (br $next)))
    (local.get $count))
  (func $behind (param $length i32) (param $count i32) (result i32)  ;; how many stand behind the space
    (if (result i32) (i32.gt_u (local.get $length) (local.get $count))
      (then (i32.sub (local.get $length) (i32.add (local.get $count) (i32.const 1))))
      (else (i32.const 0))))
  (func $equal (param $at i32) (param $length i32) (param $word i32) (param $size i32) (result i32)
    (if (i32.ne (local.get $length) (local.get $size)) (then (return (i32.const 0))))
    (block $differ (loop $next
      (if (i32.eqz (local.get $length)) (then (return (i32.const 1))))
      (local.set $length (i32.sub (local.get $length) (i32.const 1)))
      (br_if $differ (i32.ne
        (i32.load8_u (i32.add (local.get $at) (local.get $length)))
        (i32.load8_u (i32.add (local.get $word) (local.get $length)))))
      (br $next)))
    (i32.const 0))
  (func $join (param $one i32) (param $size i32) (param $other i32) (param $length i32) (result i32)
    (local $new i32)
    (local.set $new (call $allocate (i32.const 0) (i32.const 0) (i32.const 1)
      (i32.add (local.get $size) (local.get $length))))
    (memory.copy (local.get $new) (local.get $one) (local.get $size))
    (memory.copy (i32.add (local.get $new) (local.get $size)) (local.get $other) (local.get $length))
    (local.get $new))
"""

ARGUMENTS: Final = "(local.get $at) (local.get $length)"
ALL: Final = f"(local.get $connection) {ARGUMENTS}"
FIRST: Final = f"(local $first i32) (local.set $first (call $space {ARGUMENTS}))"
NUMBER: Final = "(call $read (local.get $at) (local.get $first))"
REST: Final = """
  (i32.add (local.get $at) (i32.add (local.get $first) (i32.const 1)))
  (call $behind (local.get $length) (local.get $first))"""


def _commands(words: Words) -> dict[str, str]:
    """Bodies of the functions, by name."""
    refused, told, changed = words("refused: "), words("as told: "), words('"changed"')
    return {
        "attempt": f"""
    (drop (call $obey {ALL}))
    (if (result i32) (i32.load8_u (i32.const 0))
      (then (call $reply (i32.const 0)
        (call $join {refused} (i32.load (i32.const 4)) (i32.load (i32.const 8)))
        (i32.add (i32.const 9) (i32.load (i32.const 8)))))
      (else (i32.const 0)))""",
        "echo": f"(call $reply (i32.const 0) {ARGUMENTS})",
        "nothing": "(call $nothing)",
        "several": f"""
    (call $message (i32.const 64) (i32.const 0) {words("one")})
    (call $message (i32.const 80) (i32.const 1) {words(chr(2))})
    (call $message (i32.const 96) (i32.const 0) {words("three")})
    (call $messages (i32.const 3))""",
        "order": f"""
    (call $send-text (local.get $connection) {words("sent first")})
    (call $broadcast-text {words("to all")} (i32.const 0))
    (call $send-text (local.get $connection) {words("sent last")})
    (call $message (i32.const 64) (i32.const 0) {words("returned first")})
    (call $message (i32.const 80) (i32.const 0) {words("returned last")})
    (call $messages (i32.const 2))""",
        "close": f"""{FIRST}
    (call $close (local.get $connection) {NUMBER} {REST} (i32.const 32))
    (if (result i32) (i32.load8_u (i32.const 32))
      (then (call $done))
      (else (call $reply (i32.const 0) {words("goodbye")})))""",
        "return-close": f"""{FIRST}
    (call $message (i32.const 64) (i32.const 0) {words("goodbye")})
    (call $message (i32.const 84) (i32.const 0) {REST})  ;; its fields are one word further on
    (i32.store8 (i32.const 80) (i32.const 4))
    (i32.store (i32.const 84) {NUMBER})
    (call $messages (i32.const 2))""",
        "broadcast": f"(call $broadcast-text {ARGUMENTS} (i32.const 0)) (call $done)",
        "tell-others": f"""
    (i64.store (i32.const 128) (local.get $connection))
    (call $broadcast-text {ARGUMENTS} (i32.const 1))
    (call $done)""",
        "attachment": f"""
    (call $get-attachment (local.get $connection) (i32.const 32))
    (if (result i32) (i32.load8_u (i32.const 32))
      (then (call $reply (i32.const 0) (i32.load (i32.const 36)) (i32.load (i32.const 40))))
      (else (call $reply (i32.const 0) {words("null")})))""",
        "attach": f"""
    (call $set-attachment (local.get $connection) (call $kept {ARGUMENTS}) {ARGUMENTS} (i32.const 32))
    (call $done)""",
        "state": f"""
    (call $get-state (i32.const 32))
    (if (result i32) (i32.load8_u (i32.const 32))
      (then (call $reply (i32.const 0) (i32.load (i32.const 36)) (i32.load (i32.const 40))))
      (else (call $reply (i32.const 0) {words("null")})))""",
        "keep": f"(call $set-state (call $kept {ARGUMENTS}) {ARGUMENTS} (i32.const 32)) (call $done)",
        "fail": f"""
    (call $failed (call $join {told} {ARGUMENTS}) (i32.add (i32.const 9) (local.get $length)))""",
        "change-and-fail": f"""
    (call $set-attachment (local.get $connection) (i32.const 1) {changed} (i32.const 32))
    (call $set-state (i32.const 1) {changed} (i32.const 32))
    (call $send-text (local.get $connection) {words("never sent")})
    (call $broadcast-text {words("never sent")} (i32.const 0))
    (call $failed {told})""",
        "effects": f"""
    (local $left i32)
    (local.set $left (call $read {ARGUMENTS}))
    (block $refused (loop $next
      (call $send-text (local.get $connection) {words("effect")})
      (br_if $refused (i32.load8_u (i32.const 32)))
      (br_if $next (local.tee $left (i32.sub (local.get $left) (i32.const 1))))))
    (call $done)""",
        "log": f"""{FIRST}
    (call $log (call $level (i32.load8_u (local.get $at))) {REST})
    (call $reply (i32.const 0) {words("logged")})""",
        "random": f"""
    (call $random (call $read {ARGUMENTS}) (i32.const 32))
    (call $reply (i32.const 1) (i32.load (i32.const 32)) (i32.load (i32.const 36)))""",
    }


LEVEL: Final = f"""
  (func $level (param $letter i32) (result i32)
    (if (i32.eq (local.get $letter) (i32.const {ord("d")})) (then (return (i32.const 0))))
    (if (i32.eq (local.get $letter) (i32.const {ord("i")})) (then (return (i32.const 1))))
    (if (i32.eq (local.get $letter) (i32.const {ord("w")})) (then (return (i32.const 2))))
    (i32.const 3))
"""


def build() -> bytes:
    """Makes the component."""
    words = Words()
    commands = _commands(words)
    functions = [f"(func $do-{name} {COMMAND} {body})" for name, body in commands.items()]
    choices = [
        f"""(if (call $equal (local.get $at) (local.get $first) {words(name)})
          (then (return (call $do-{name} (local.get $connection) {REST}))))"""
        for name in commands
    ]
    obey = f"(func $obey {COMMAND} {FIRST} {' '.join(choices)} (call $failed {words('no such command')}))"
    handler = f"""{EVENT}
    (if (i32.eqz {IS_MESSAGE}) (then (return (call $nothing))))
    (if (i32.or (i64.eq (local.get $kind) (i64.const 1)) (i32.eqz (local.get $length)))
      (then (return (call $reply (i32.wrap_i64 (local.get $kind)) {ARGUMENTS}))))
    (call $obey {ALL})"""
    code = " ".join((HELPERS, LEVEL, *functions, obey, words.data()))
    return guest({"handle-websocket": handler}, code, IMPORTS)
