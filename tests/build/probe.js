// Does what tests/build/test_javascript.py asks for, in JSON: the name of a method, and what it is given.

import { Accept, Actor, Close, Ping, Pong, Response } from "theater";
import { twice } from "./lib/more.mjs";
import thrice from "thrice";

export default class Probe extends Actor {
  constructor() {
    super();
    this.born = { time: Date.now(), chance: Math.random(), address: this.address };
    this.events = [];
  }

  init() {
    this.events.push("init");
  }

  upgradeConnection(request) {
    switch (request.query.get("as")) {
      case "accept":
        return new Accept({
          subprotocol: request.subprotocols.at(-1),
          headers: { "x-seen": request.headers.get("X-TEST") },
          tags: ["one", "two", "one"],
          attachment: { all: request.query.getAll("as"), text: String(request.query) },
        });
      case "refuse":
        return Response.json({ why: request.parameters.name }, { status: 409 });
      case "nothing":
        return;
      case "wrong":
        return true;
      default:
        return new Accept();
    }
  }

  handleWebsocket(connection, event) {
    if (event.type !== "received") {
      this.events.push(event);
      return;
    }
    const message = event.message;
    if (message instanceof Ping || message instanceof Pong) {
      this.events.push({ type: message.constructor.name, bytes: [...message.payload] });
      return;
    }
    if (message instanceof Uint8Array) return message.map((byte) => byte + 1);
    const [what, ...given] = JSON.parse(message);
    return this[what](connection, ...given);
  }

  handleChunk(connection, chunk, last) {
    return `${chunk.constructor.name} ${chunk.length} ${last}`;
  }

  handleRequest(request) {
    switch (request.query.get("as")) {
      case "page":
        return Response.html("<p>");
      case "bytes":
        return new Response(new Uint8Array([1, 2]), { status: 201, headers: [["x-a", "1"], ["x-a", "2"]] });
      case "nothing":
        return;
      default:
        return new Response(`${request.method} ${request.path} ${request.json().n} ${request.peer?.address}`);
    }
  }

  handleMessage(message, sender) {
    if (message === "fail") throw new Error("as told");
    return message instanceof Uint8Array ? message : `${sender.type} said ${message}`;
  }

  seen() {
    return JSON.stringify(this.events);
  }

  facts(connection) {
    const { id, path, parameters, subprotocol, tags, attachment, waiting } = connection;
    const known = { path, parameters, subprotocol, tags: tags.sort(), attachment, waiting, peer: connection.peer };
    return JSON.stringify({ ...known, same: this.connections.find((each) => each.id === id) === connection });
  }

  change(connection) {
    connection.tags = new Set(["three"]);
    connection.attachment = { list: [1, null, "ä"] };
  }

  keep(_, value) {
    this.state = value;
  }

  kept() {
    return JSON.stringify(this.state);
  }

  several(connection) {
    connection.send(new Pong(new Uint8Array([7])));
    connection.sendNow("at once", { key: "k", compress: false });
    connection.drained();
    return ["first", new Uint8Array([9]), new Close(4000, "done")];
  }

  pieces(connection) {
    connection.sendChunk("in ", false);
    connection.sendChunk("pieces", true);
  }

  close(connection, ...how) {
    connection.close(...how);
  }

  tell(connection, tag) {
    this.broadcast("to the tagged", { tag });
    this.broadcast("to others", { exclude: connection });
  }

  ask(_, ...whom) {
    try {
      return this.request(...whom) ?? "no answer";
    } catch (error) {
      return `${error.name} ${error.reason}: ${error.message}`;
    }
  }

  post(_, address, message) {
    this.send(address, message);
  }

  texts() {
    const text = "aä€😀\ud800\ufeff";
    const bytes = new TextEncoder().encode(text);
    return JSON.stringify([[...bytes], new TextDecoder().decode(bytes)]);
  }

  decode(_, bytes) {
    return new TextDecoder().decode(new Uint8Array(bytes));
  }

  strict(_, bytes) {
    return new TextDecoder("utf-8", { fatal: true }).decode(new Uint8Array(bytes));
  }

  lonely() {
    return "\ud800";
  }

  time() {
    const date = new Date();
    const same = date instanceof Date && date.constructor === Date && typeof Date() === "string";
    return JSON.stringify([date.getTime(), new Date(0).toISOString(), same, performance.now() > 0]);
  }

  chance() {
    const numbers = Array.from({ length: 1000 }, () => Math.random());
    const many = crypto.getRandomValues(new Uint8Array(100_000));
    return JSON.stringify([numbers, crypto.randomUUID(), new Set(many).size, this.born]);
  }

  log() {
    console.log("one", { two: 2 }, [3n].length);
    console.error(new Error("four"));
  }

  words() {
    return twice("a") + thrice("b");
  }

  fail(_, how) {
    switch (how) {
      case "error":
        return null.foo;
      case "text":
        throw "a text";
      case "number":
        return 42;
      case "promise":
        return Promise.resolve("x");
      case "close":
        return new Close(70_000);
      case "host":
        return new Close(999);
      case "exclude":
        return this.broadcast("x", { exclude: [1] });
      default:
        return this.fail(_, how) + 1; // deeper than the stack is
    }
  }
}
