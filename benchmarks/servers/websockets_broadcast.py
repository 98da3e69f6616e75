"""A room on websockets and uvloop. Usage: python -m benchmarks.servers.websockets_broadcast PORT"""

import sys

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve


async def relay(connection: ServerConnection) -> None:
    async for message in connection:
        broadcast(connection.server.connections, message)


async def main(port: int) -> None:
    async with serve(relay, "127.0.0.1", port) as server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
