// Echo from one Durable Object, through the hibernation API: the runtime holds the sockets, not the object.
// It compresses for a client that offers it.
import { DurableObject } from "cloudflare:workers";

export class Echo extends DurableObject {
  fetch() {
    const [client, server] = Object.values(new WebSocketPair());
    this.ctx.acceptWebSocket(server);
    return new Response(null, { status: 101, webSocket: client });
  }

  webSocketMessage(socket, message) {
    socket.send(message);
  }

  webSocketClose(socket, code) {
    socket.close(code);
  }
}

export default {
  fetch(request, env) {
    if (request.headers.get("Upgrade") !== "websocket") {
      return new Response("This address speaks WebSocket.\n", { status: 426 });
    }
    return env.echo.get(env.echo.idFromName("echo")).fetch(request);
  },
};
