;; The same actor as a component of the contract 0.1.0, in WebAssembly's text format:
;; `theater build examples/echo/echo.wat`. Compilers write the like of it; nobody has to.
(module
  (memory (export "memory") 1)
  (global $free (mut i32) (i32.const 64)) ;; memory from here on is free

  ;; The host asks for memory for the texts and bytes that it hands over.
  (func (export "cabi_realloc")
      (param $old i32) (param $old-size i32) (param $align i32) (param $size i32) (result i32)
    (local $new i32)
    (local.set $new (global.get $free))
    (global.set $free (i32.and
      (i32.add (i32.add (local.get $new) (local.get $size)) (i32.const 7))
      (i32.const -8)))
    (loop $grow
      (if (i32.gt_u (global.get $free) (i32.mul (memory.size) (i32.const 65536))) (then
        (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then (unreachable)))
        (br $grow))))
    (memory.copy (local.get $new) (local.get $old) (local.get $old-size))
    (local.get $new))

  ;; handle-websocket: func(event: connection-event) -> option<message-type>
  ;; $event is 1 for a message; $kind is 0 for text and 1 for binary, the first two of message-type.
  ;; The answer lies at 0: whether there is one, its kind, where it lies, its length.
  (func (export "theater:websocket/websocket-actor@0.1.0#handle-websocket")
      (param $event i32) (param $kind i32) (param $at i32) (param $length i32) (result i32)
    (i32.store8 (i32.const 0) (i32.and
      (i32.eq (local.get $event) (i32.const 1))
      (i32.lt_u (local.get $kind) (i32.const 2))))
    (i32.store8 (i32.const 4) (local.get $kind))
    (i32.store (i32.const 8) (local.get $at))
    (i32.store (i32.const 12) (local.get $length))
    (i32.const 0))

  ;; The host has read the answer: all memory is free again.
  (func (export "cabi_post_theater:websocket/websocket-actor@0.1.0#handle-websocket") (param i32)
    (global.set $free (i32.const 64))))
