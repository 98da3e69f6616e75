// A room on Socket.IO, WebSocket transport only, otherwise with its defaults. Usage: node socketio_broadcast.js PORT
import { createServer } from "node:http";
import { Server } from "socket.io";

const http = createServer((_request, response) => response.writeHead(426).end());
const io = new Server(http, { transports: ["websocket"] });

io.on("connection", (socket) => {
  socket.on("say", (text) => io.emit("say", text));
});

http.listen(Number(process.argv[2]), "127.0.0.1");
