"""A server that may have few files open, and an actor that takes all of them; see `test_descriptors`."""

import asyncio
import logging
import os
import resource
import sys

import uvloop

from theater import Actor, Connection, Event, Received, Text
from theater.app import Theater, bind
from theater.config import Manifest

FILES = 64


class Hoarder(Actor):
    """Opens files until there are no descriptors left, and closes them again."""

    def __init__(self) -> None:
        self.files: list[int] = []

    def handle_websocket(self, connection: Connection, event: Event) -> Text | None:
        match event:
            case Received(Text("take")):
                try:
                    while True:
                        self.files.append(os.open(os.devnull, os.O_RDONLY))
                except OSError:
                    return Text("taken")
            case Received(Text("give")):
                while self.files:
                    os.close(self.files.pop())
                return Text("given")
            case Received(Text() as message):
                return message
        return None


async def main() -> None:
    theater = Theater([Manifest.of(Hoarder)])
    sock = bind("127.0.0.1", 0)
    await theater.start(sock)
    print(sock.getsockname()[1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))
    logging.basicConfig(level="INFO", format="%(message)s")
    (uvloop.run if sys.argv[1] == "uvloop" else asyncio.run)(main())
