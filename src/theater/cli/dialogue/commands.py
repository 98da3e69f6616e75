"""What can be typed at the prompt of `theater connect`."""

from typing import Final

from theater.contract import Binary, Close, Message, Ping, Text

HELP: Final = """\
Every line is sent as a text message, but for these:
  /ping [TEXT]             send a ping and say how long its pong took
  /binary HEX              send a binary message, such as /binary 00ff c3a9
  /close [CODE] [REASON]   close the connection; CODE is 1000 if left out
  /help                    show this
  //TEXT                   send a text that begins with a slash
Ctrl-D or Ctrl-C closes the connection, arrow up brings back earlier lines."""


class Help:
    """Asks for `HELP`."""


class Misunderstood(ValueError):
    """A line that is no command; the text says why."""


def parse(line: str) -> Message | Help:
    """What a line asks for.

    Raises:
        Misunderstood: it begins with a slash, and is no command.
    """
    if not line.startswith("/"):
        return Text(line)
    if line.startswith("//"):
        return Text(line[1:])
    name, _, rest = line[1:].partition(" ")
    rest = rest.strip()
    match name:
        case "ping":
            return Ping(rest.encode())
        case "binary":
            return _binary(rest)
        case "close":
            return _close(rest)
        case "help":
            return Help()
    raise Misunderstood(f"there is no command /{name}; see /help, or send it as a text with /{line}")


def _binary(digits: str) -> Binary:
    try:
        return Binary(bytes.fromhex(digits))
    except ValueError:
        raise Misunderstood("/binary takes pairs of hexadecimal digits, such as 00ff c3a9") from None


def _close(words: str) -> Close:
    code, _, reason = words.partition(" ")
    if not code:
        return Close()
    if not (code.isascii() and code.isdecimal()):
        raise Misunderstood("/close takes a number and a reason, such as 1000 goodbye")
    return Close(int(code), reason.strip())
