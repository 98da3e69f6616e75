// Texts and binary messages come back as they were.

import { Actor } from "theater";

export default class Echo extends Actor {
  handleWebsocket(_connection, event) {
    if (event.type === "received") return event.message;
  }
}
