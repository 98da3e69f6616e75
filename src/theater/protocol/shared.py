"""One message for many connections."""

from theater.protocol.deflate import Deflater
from theater.protocol.frames import RSV1, encode_frame


class SharedMessage:
    """A data message that a server sends to many: encoded once, and compressed once per window.

    It is compressed as if nothing had come before it, so every client can inflate it, whatever it
    was sent until then.

    Args:
        first: what `encode_message` made of it.
        payload: likewise.
        compress: send it compressed where that was agreed on, and makes it smaller.

    Attributes:
        plain: its frame, uncompressed.
        size: bytes of its payload.
    """

    __slots__ = ("_compressed", "compress", "first", "payload", "plain", "size")

    def __init__(self, first: int, payload: bytes, compress: bool = True) -> None:
        self.first = first
        self.payload = payload
        self.compress = compress
        self.size = len(payload)
        self.plain = encode_frame(first, payload)
        self._compressed: dict[int, bytes | None] = {}

    def compressed(self, window: int, level: int) -> bytes | None:
        """Its frame, compressed; None if that is not smaller.

        Args:
            window: bits.
            level: of zlib; counts for who is first with a window.
        """
        try:
            return self._compressed[window]
        except KeyError:
            payload = Deflater(window, level, takeover=False).deflate(self.payload)
            frame = None if payload is None else encode_frame(self.first | RSV1, payload)
            self._compressed[window] = frame
            return frame
