// Actors in JavaScript: https://pypi.org/project/theater/
//
// A handler answers at once; none is `async`. What waits, such as `request`, returns when it is done, and what
// else happens waits for the handler meanwhile.

import * as actors from "theater:websocket/actors@0.2.0";
import * as state from "theater:websocket/state@0.2.0";
import * as websocket from "theater:websocket/websocket@0.2.0";
import { ActorError, Close, ConnectionFacts, data, found, kept, kind, message, tagged, text } from "./values.js";

export { Accept, ActorError, Close, Headers, Ping, Pong, Query, Request, Response } from "./values.js";

/** @import { Accept, Address, Data, Event, Message, Request, Response, UpgradeRequest } from "./values.js" */

/** @type {Map<number, Connection>} */
const connections = new Map();

/**
 * The one object for a connection.
 * @param {number} id
 */
export function connectionOf(id) {
  let connection = connections.get(id);
  if (connection === undefined) connections.set(id, (connection = new Connection(id)));
  return connection;
}

/**
 * Forgets a connection, which has ended.
 * @param {number} id
 */
export function forget(id) {
  connections.delete(id);
}

/**
 * One client of an actor: the facts about it, and what can be done to it.
 *
 * All that is done in a turn takes effect when the turn succeeds, and not at all if it throws. On a connection
 * that has ended everything is allowed and does nothing.
 */
export class Connection {
  /** @type {ConnectionFacts | null} */
  #facts = null;

  /** Made by the host's calls, not by actors. */
  constructor(id) {
    /** Unique among all processes of a deployment. @type {number} */
    this.id = id;
  }

  /** What is known about it; read from the host when it is needed first. */
  get #known() {
    if (this.#facts === null) {
      const record = websocket.findConnection(this.id);
      if (record == null) throw new Error(`connection ${this.id} has ended`);
      this.#facts = new ConnectionFacts(record);
    }
    return this.#facts;
  }

  /** Percent-decoded, dot segments removed. */
  get path() {
    return this.#known.path;
  }

  /** What the braces of the route's pattern stood for, decoded. */
  get parameters() {
    return this.#known.parameters;
  }

  /** The part of the URL after the question mark. */
  get query() {
    return this.#known.query;
  }

  /** Header fields of the upgrade request. */
  get headers() {
    return this.#known.headers;
  }

  /** The one agreed on, or null. */
  get subprotocol() {
    return this.#known.subprotocol;
  }

  /** The client; null on a Unix socket. */
  get peer() {
    return this.#known.peer;
  }

  /**
   * Sends a message.
   * @param {Message} value
   * @param {{key?: string | null, compress?: boolean}} options `key`: where the limit `slow_reader` is
   *   `keep-latest`, it takes the place of a message with the same key that still waits; `compress`: whether it
   *   may be compressed; not, if a secret in it stands beside text that somebody else has chosen
   */
  send(value, { key = null, compress = true } = {}) {
    websocket.sendMessage(this.id, message(value), keyed(key), Boolean(compress));
  }

  /**
   * Sends a message at once, not with the turn, so it stays sent if the turn fails. Where the limit
   * `slow_reader` is `block`, this waits while the client reads too slowly.
   * @param {Message} value
   * @param {{key?: string | null, compress?: boolean}} options as in `send`
   */
  sendNow(value, { key = null, compress = true } = {}) {
    websocket.sendNow(this.id, message(value), keyed(key), Boolean(compress));
  }

  /**
   * Sends a piece of a message at once, and waits while the client does not keep up. All pieces of a message are
   * of one kind; the `last` one, which may be empty, completes it.
   * @param {Data} value
   * @param {boolean} last
   */
  sendChunk(value, last) {
    websocket.sendChunk(this.id, data(value, "a chunk"), Boolean(last));
  }

  /** Waits until nothing waits for the client any more, or it is gone. What this turn sends does not count. */
  drained() {
    websocket.drained(this.id);
  }

  /** Bytes that wait in the server for the client to read. */
  get waiting() {
    return websocket.getWaiting(this.id);
  }

  /**
   * Begins the closing handshake behind all that this turn sends; the event `closed` follows.
   * @param {number} code 1000 to 1003, 1007 to 1014 or 3000 to 4999
   * @param {string} reason at most 123 bytes of UTF-8
   */
  close(code = 1000, reason = "") {
    const close = new Close(code, reason);
    websocket.closeConnection(this.id, close.code, close.reason);
  }

  /** Labels to find connections by, as in `broadcast`; assign others to change them. @type {string[]} */
  get tags() {
    return websocket.getTags(this.id);
  }

  set tags(tags) {
    websocket.setTags(this.id, tagged(tags));
  }

  /**
   * Plain data kept with the connection, not with the actor's instance, so that it outlives it. Each reading gives
   * a new copy: to change it, assign.
   * @type {any}
   */
  get attachment() {
    return found(websocket.getAttachment(this.id));
  }

  set attachment(value) {
    websocket.setAttachment(this.id, kept(value));
  }
}

/**
 * Base class of actors. A module has one as its default export.
 *
 * An instance handles one thing at a time. What a handler sends leaves when it has returned, and not at all if it
 * throws. What a class leaves out is done as here, without a call.
 */
export class Actor {
  // Handlers, to override

  /** Runs once, before all else. If it throws, the actor cannot start. */
  init() {}

  /**
   * Lets a client in with an `Accept`, or refuses it with a response; nothing refuses with 403, an error with 500.
   * @param {UpgradeRequest} request
   * @returns {Accept | Response | null | void}
   */
  upgradeConnection(request) {}

  /**
   * Handles an event of a connection. What it returns, one message or several, is sent to that connection. After an
   * error the connection stays open, and its next event is `error`.
   * @param {Connection} connection
   * @param {Event} event
   * @returns {Message | Message[] | null | void}
   */
  handleWebsocket(connection, event) {}

  /**
   * Handles several events at once, on paths with `batch`.
   * @param {[Connection, Event][]} batch
   */
  handleBatch(batch) {}

  /**
   * Handles a piece of a message, on paths with `messages = "stream"`; the `last` one may be empty. What it returns
   * is sent to that connection.
   * @param {Connection} connection
   * @param {Data} chunk
   * @param {boolean} last
   * @returns {Message | Message[] | null | void}
   */
  handleChunk(connection, chunk, last) {}

  /**
   * Answers a plain HTTP request; an error answers with 500.
   * @param {Request} request
   * @returns {Response}
   */
  handleRequest(request) {}

  /**
   * Handles another actor's message; what it returns is the answer, if it was a `request`.
   * @param {Data} message
   * @param {Address} sender
   * @returns {Data | null | void}
   */
  handleMessage(message, sender) {}

  // What an actor can do

  /** Where this actor is found. @returns {Address} */
  get address() {
    return actors.getAddress();
  }

  /** The open connections of this actor, in the order in which they came. */
  get connections() {
    return websocket.getConnections().map(connectionOf);
  }

  /**
   * Plain data kept with the actor, not with this instance, so that it outlives it; null at first. Each reading
   * gives a new copy: to change it, assign. A turn that throws takes the change back.
   * @type {any}
   */
  get state() {
    return found(state.getState());
  }

  set state(value) {
    state.setState(kept(value));
  }

  /**
   * Sends a message, encoded and compressed once, to all connections of this actor.
   * @param {Message} value
   * @param {{exclude?: Connection | Connection[], tag?: string | null, key?: string | null, compress?: boolean}}
   *   options `exclude`: who is left out; `tag`: send only to connections that have it; the others are as in
   *   `Connection.send`
   */
  broadcast(value, { exclude = [], tag = null, key = null, compress = true } = {}) {
    const excluded = [exclude].flat().map((each) => {
      if (!(each instanceof Connection)) throw new TypeError(`exclude takes connections, not ${kind(each)}`);
      return each.id;
    });
    const only = tag === null ? null : text(tag, "a tag");
    websocket.broadcast(message(value), excluded, only, keyed(key), Boolean(compress));
  }

  /**
   * Sends a message to another actor, when this turn has succeeded.
   * @param {Address | string} address
   * @param {Data} value
   * @throws {ActorError}
   */
  send(address, value) {
    const [to, sent] = [addressOf(address), data(value, "a message to an actor")];
    told(() => actors.send(to, sent));
  }

  /**
   * Sends a message to another actor at once, and waits for what its handler returns.
   * @param {Address | string} address
   * @param {Data} value
   * @param {{timeout?: number | null}} options seconds; the limit `request_timeout` if it is left out
   * @returns {Data | null}
   * @throws {ActorError}
   */
  request(address, value, { timeout = null } = {}) {
    if (timeout !== null && typeof timeout !== "number") throw new TypeError("a timeout is seconds");
    const [to, sent] = [addressOf(address), data(value, "a message to an actor")];
    return told(() => actors.request(to, sent, timeout))?.val ?? null;
  }
}

function keyed(key) {
  return key === null ? null : text(key, "a key");
}

/** The record `address`. */
function addressOf(address) {
  if (typeof address !== "string") {
    return { type: text(address.type, "an actor's type"), key: text(address.key ?? "", "an actor's key") };
  }
  const slash = address.indexOf("/");
  const [type, key] = slash < 0 ? [address, ""] : [address.slice(0, slash), address.slice(slash + 1)];
  return { type: type.toWellFormed(), key: key.toWellFormed() };
}

/** What a call returns; the variant `actor-error` becomes an exception. */
function told(call) {
  try {
    return call();
  } catch (error) {
    if (error.payload?.tag === undefined) throw error;
    throw new ActorError(error.payload.tag, error.payload.val);
  }
}
