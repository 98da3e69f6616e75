// Rooms. Every room is an actor: `/rooms/lobby?name=Ada` leads to the instance `lobby` of `Room`.
//
// Messages are plain lines of text. A room answers GET requests with its members and what was said, in JSON.

import { Accept, Actor, Response } from "theater";
import { clean, free } from "./names.js";

const HISTORY = 20; // lines that a room remembers

export default class Room extends Actor {
  upgradeConnection(request) {
    const name = free(clean(request.query.get("name") ?? ""), this.#members());
    return new Accept({ attachment: name });
  }

  handleWebsocket(connection, event) {
    const name = connection.attachment;
    switch (event.type) {
      case "connected":
        this.broadcast(`${name} came`, { exclude: connection });
        return [`welcome, ${name}`, ...this.#said()];
      case "received":
        if (typeof event.message === "string") this.#say(`${name}: ${event.message}`);
        return;
      case "error": // a handler threw; what it had done so far is undone
        return "Something went wrong here. Please try again.";
      case "closed":
        this.broadcast(`${name} left`);
    }
  }

  handleRequest(request) {
    return Response.json({ room: request.parameters.room, members: this.#members(), said: this.#said() });
  }

  #say(line) {
    // Kept with the actor, not with this instance: the next one finds it after a crash.
    this.state = [...this.#said(), line].slice(-HISTORY);
    this.broadcast(line);
  }

  #said() {
    return this.state ?? [];
  }

  #members() {
    return this.connections.map((connection) => connection.attachment);
  }
}
