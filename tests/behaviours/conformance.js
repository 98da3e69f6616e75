// See conformance.py.

import { Accept, Actor, ActorError, Close, Ping, Pong, Response } from "theater";

const ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const PIECE = 1000;
const REFUSED = new Uint8Array([...new TextEncoder().encode("taken "), 0, 255]);
const TEAPOT = new Uint8Array([...new TextEncoder().encode("teapot "), 0, 255]);

/** The text before the first space, and what is behind it. */
function parted(text) {
  const space = text.indexOf(" ");
  return space < 0 ? [text, ""] : [text.slice(0, space), text.slice(space + 1)];
}

const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
const named = ({ type, key }) => (key ? `${type}/${key}` : type);
const bytesOf = (text) => new TextEncoder().encode(text);
const begins = (bytes, text) => bytesOf(text).every((byte, index) => bytes[index] === byte);

export default class Conformance extends Actor {
  events = [];
  arriving = new Map(); // streamed messages, by connection

  init() {
    if (this.address.key === "broken") throw new Error("init as told");
  }

  upgradeConnection(request) {
    switch (String(request.query)) {
      case "accept":
        return new Accept({
          subprotocol: request.subprotocols.at(-1),
          headers: { "x-seen": request.headers.get("x-test") },
          tags: ["one", "two"],
          attachment: { from: "upgrade" },
        });
      case "unasked":
        return new Accept({ subprotocol: "unasked" });
      case "refuse":
        return new Response(REFUSED, { status: 409, headers: [["x-why", "one"], ["x-why", "two"]] });
      case "none":
        return null;
      case "fail":
        throw new Error("upgrade as told");
    }
    return new Accept();
  }

  // Events

  handleWebsocket(connection, event) {
    if (event.type === "received") {
      const message = event.message;
      if (message === "" || message instanceof Uint8Array) return message;
      if (typeof message === "string") return this.obey(connection, message);
    }
    this.remember(connection, event);
  }

  remember(connection, event) {
    switch (event.type) {
      case "connected":
      case "drained":
        this.events.push(event.type);
        break;
      case "received":
        this.events.push(`${event.message instanceof Ping ? "ping" : "pong"} ${hex(event.message.payload)}`);
        break;
      case "error":
        this.events.push(`error ${event.problem}`);
        break;
      case "congested":
        this.events.push(event.waiting ? "congested" : "congested by nothing");
        break;
      case "closed": {
        this.arriving.delete(connection);
        this.events.push(`closed ${event.code} ${event.reason}`);
        const tags = connection.tags.sort().join(",");
        const isOpen = this.connections.includes(connection) ? "open" : "not open";
        this.events.push(`left ${connection.path} ${isOpen} ${tags} ${JSON.stringify(connection.attachment)}`);
      }
    }
  }

  handleChunk(connection, chunk, last) {
    const bytes = typeof chunk === "string" ? bytesOf(chunk) : chunk;
    const begun = this.arriving.get(connection) ?? { size: 0, total: 0, ended: false };
    let answer;
    if (begun.size === 0 && begins(bytes, "fail")) throw new Error("stream as told");
    if (begun.size === 0 && begins(bytes, "early")) {
      begun.ended = true;
      answer = "enough";
    }
    begun.size += bytes.length;
    for (const byte of bytes) begun.total += byte;
    if (last && !begun.ended) answer = `${typeof chunk === "string" ? "text" : "binary"} ${begun.size} ${begun.total}`;
    if (last) this.arriving.delete(connection);
    else this.arriving.set(connection, begun);
    return answer;
  }

  handleBatch(batch) {
    for (const [connection, event] of batch) {
      if (event.type !== "received" || typeof event.message !== "string") this.remember(connection, event);
      else if (event.message === "fail") throw new Error("batch as told");
      else connection.send(`${batch.length} ${event.message}`);
    }
  }

  handleRequest(request) {
    switch (String(request.query)) {
      case "status":
        return new Response(TEAPOT, { status: 418, headers: [["x-one", "1"], ["x-one", "2"]] });
      case "missing":
        return new Response("no such page", { status: 404 });
      case "fail":
        throw new Error("request as told");
      case "wrong":
        return new Response("", { status: 99 });
      case "by-hand":
        return new Response("", {
          status: 101,
          headers: { upgrade: "websocket", connection: "Upgrade", "sec-websocket-accept": ACCEPT },
        });
    }
    const { method, path, parameters, query, headers, peer } = request;
    const facts = [method, path, parameters.name, query, headers.get("x-test"), peer?.address ?? "nobody"];
    return new Response(new Uint8Array([...bytesOf(`${facts.join(" ")}\n`), ...request.body]), {
      headers: { "x-method": method },
    });
  }

  handleMessage(message, sender) {
    switch (message) {
      case "fail":
        throw new Error("message as told");
      case "nothing":
        return null;
      case "note":
        this.events.push(`note from ${named(sender)}`);
        return null;
    }
    if (typeof message !== "string") return message;
    return `${named(this.address)} heard ${message} from ${named(sender)}`;
  }

  // Commands

  obey(connection, command) {
    const [name, rest] = parted(command);
    return COMMANDS[name].call(this, connection, rest);
  }
}

const COMMANDS = {
  attempt(connection, rest) {
    try {
      return this.obey(connection, rest);
    } catch (error) {
      return `refused: ${error.payload ?? error.message}`;
    }
  },

  echo: (_, rest) => rest,

  events() {
    return this.events.splice(0).join("\n");
  },

  several: () => ["one", new Uint8Array([2]), "three"],

  nothing() {},

  order(connection) {
    connection.send("sent first");
    this.broadcast("to all");
    connection.send("sent last");
    return ["returned first", "returned last"];
  },

  "at-once"(connection) {
    connection.send("sent");
    connection.sendNow("at once");
    return "returned";
  },

  close(connection, rest) {
    const [code, reason] = parted(rest);
    connection.close(Number(code), reason);
    return "goodbye";
  },

  "return-close"(_, rest) {
    const [code, reason] = parted(rest);
    return ["goodbye", new Close(Number(code), reason)];
  },

  ping: (_, rest) => new Ping(new Uint8Array(Number(rest)).fill(1)),

  pong(connection, rest) {
    connection.send(new Pong(new Uint8Array(Number(rest)).fill(1)));
    return "sent";
  },

  broadcast(_, rest) {
    this.broadcast(rest);
  },

  "tell-others"(connection, rest) {
    this.broadcast(rest, { exclude: connection });
  },

  "tell-tagged"(_, rest) {
    const [tag, text] = parted(rest);
    this.broadcast(text, { tag });
  },

  "tell-one"(_, rest) {
    const [id, text] = parted(rest);
    this.connections.find((each) => each.id === Number(id)).send(text);
  },

  "tell-keyed"(connection, rest) {
    const other = this.connections.find((each) => each.id === Number(rest));
    for (let number = 0; number < 3; number++) {
      this.broadcast(`all ${number}`, { exclude: connection, key: "all" });
      other.send(`one ${number}`, { key: "one" });
    }
    return "told";
  },

  id: (connection) => String(connection.id),

  ids() {
    return this.connections.map((each) => each.id).join(",");
  },

  facts(connection) {
    const { path, parameters, query, headers, subprotocol, peer } = connection;
    const client = peer ? `${peer.address} ${peer.port}` : "nobody";
    return [path, parameters.name, query, headers.get("x-test"), subprotocol ?? "none", client].join("\n");
  },

  tags: (connection) => connection.tags.sort().join(","),

  tag(connection, rest) {
    connection.tags = rest ? rest.split(",") : [];
  },

  attachment: (connection) => JSON.stringify(connection.attachment),

  attach(connection, rest) {
    connection.attachment = JSON.parse(rest);
  },

  state() {
    return JSON.stringify(this.state);
  },

  keep(_, rest) {
    this.state = JSON.parse(rest);
  },

  fail(_, rest) {
    throw new Error(`as told: ${rest}`);
  },

  "change-and-fail"(connection) {
    connection.tags = ["changed"];
    connection.attachment = "changed";
    this.state = "changed";
    if (connection.attachment !== "changed" || this.state !== "changed") {
      throw new Error("a change is not seen at once");
    }
    connection.send("never sent");
    this.broadcast("never sent");
    this.send(this.address, "note");
    throw new Error("as told");
  },

  spin() {
    for (;;);
  },

  effects(connection, rest) {
    for (let left = Number(rest); left > 0; left--) connection.send("effect");
  },

  flood(_, rest) {
    const [count, size] = parted(rest);
    return Array(Number(count)).fill(new Uint8Array(Number(size)));
  },

  waiting: (connection) => String(connection.waiting),

  drained(connection) {
    connection.drained();
    return "drained";
  },

  pieces(connection, rest) {
    connection.send("sent meanwhile");
    for (let number = 0; number < Number(rest); number++) {
      connection.sendChunk(String(number % 10).repeat(PIECE), false);
    }
    connection.sendChunk("", true);
    return "done";
  },

  "broken-piece"(connection) {
    connection.sendChunk("begun", false);
    throw new Error("as told");
  },

  ask(_, rest) {
    const [seconds, [address, message]] = [parted(rest)[0], parted(parted(rest)[1])];
    const timeout = seconds === "-" ? null : Number(seconds);
    try {
      const asked = message === "bytes" ? new Uint8Array([0, 255]) : message;
      return this.request(address, asked, { timeout }) ?? "no answer";
    } catch (error) {
      if (error instanceof ActorError) return error.reason;
      throw error;
    }
  },

  post(_, rest) {
    const [address, message] = parted(rest);
    try {
      this.send(address, message);
    } catch (error) {
      if (error instanceof ActorError) return error.reason;
      throw error;
    }
    return "sent";
  },

  address() {
    return `${this.address.type} ${this.address.key}`;
  },

  log(_, rest) {
    const [level, line] = parted(rest);
    console[{ debug: "debug", info: "info", warning: "warn", error: "error" }[level]](line);
    return "logged";
  },

  clock: () => `${Date.now() / 1000} ${performance.now() / 1000}`,

  random: (_, rest) => crypto.getRandomValues(new Uint8Array(Number(rest))),
};
