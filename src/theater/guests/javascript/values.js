// What actors and host tell each other. A text is a string, binary data a Uint8Array.

/**
 * What an actor sends to a connection.
 * @typedef {string | Uint8Array | ArrayBuffer | Ping | Pong | Close} Message
 *
 * What one actor sends to another, and a piece of a message that arrives in pieces.
 * @typedef {string | Uint8Array} Data
 *
 * What happens on a connection: `connected` first, `closed` last, exactly once. `problem` may be internal, and
 * must not be sent to the client; `waiting` is the bytes that have gathered for a client that reads slowly.
 * @typedef {{type: "connected"} | {type: "received", message: string | Uint8Array | Ping | Pong}
 *   | {type: "error", problem: string} | {type: "congested", waiting: number} | {type: "drained"}
 *   | {type: "closed", code: number, reason: string}} Event
 *
 * Where an actor is found; as text `type` or `type/key`.
 * @typedef {{type: string, key: string}} Address
 *
 * The other end of a TCP connection.
 * @typedef {{address: string, port: number}} Peer
 *
 * Header fields as they may be given.
 * @typedef {Headers | Record<string, string> | Iterable<[string, string]>} HeadersInit
 */

/** A ping, with at most 125 bytes of payload. The host answers pings by itself. */
export class Ping {
  /** @param {Uint8Array} payload */
  constructor(payload = new Uint8Array()) {
    this.payload = bytes(payload, "the payload of a ping");
  }
}

/** A pong, with at most 125 bytes of payload. */
export class Pong {
  /** @param {Uint8Array} payload */
  constructor(payload = new Uint8Array()) {
    this.payload = bytes(payload, "the payload of a pong");
  }
}

/** Asks for the connection to be closed (RFC 6455 §7.4). */
export class Close {
  /**
   * @param {number} code 1000 to 1003, 1007 to 1014 or 3000 to 4999
   * @param {string} reason at most 123 bytes of UTF-8
   */
  constructor(code = 1000, reason = "") {
    if (!Number.isInteger(code) || code < 0 || code > 0xffff) {
      throw new RangeError(`a close code is a whole number such as 1000, not ${code}`);
    }
    this.code = code;
    this.reason = text(reason, "a close reason");
  }
}

/** Another actor could not be reached, or did not answer. */
export class ActorError extends Error {
  /**
   * @param {string} reason such as `no-such-actor` or `request-timeout`
   * @param {string} [problem] more about it
   */
  constructor(reason, problem) {
    super(problem ?? reason.replaceAll("-", " "));
    this.name = "ActorError";
    this.reason = reason;
  }
}

/** Names with values, in order; a name may occur more than once. */
class Fields {
  #pairs;

  /** @param {Iterable<[string, string]>} pairs */
  constructor(pairs) {
    this.#pairs = [...pairs];
  }

  /**
   * The first value of this name.
   * @param {string} name
   * @returns {string | null}
   */
  get(name) {
    return this.getAll(name)[0] ?? null;
  }

  /**
   * All values of this name.
   * @param {string} name
   */
  getAll(name) {
    return this.#pairs.filter(([each]) => each === name).map(([, value]) => value);
  }

  /** @param {string} name */
  has(name) {
    return this.getAll(name).length > 0;
  }

  [Symbol.iterator]() {
    return this.#pairs[Symbol.iterator]();
  }
}

/** HTTP header fields; names compare without case and read in lower case. */
export class Headers extends Fields {
  /** @param {HeadersInit} fields */
  constructor(fields = []) {
    const pairs = Symbol.iterator in fields ? [...fields] : Object.entries(fields);
    super(pairs.map(([name, value]) => [text(name, "a header name").toLowerCase(), text(value, name)]));
  }

  getAll(name) {
    return super.getAll(name.toLowerCase());
  }
}

/** The part of a URL after the question mark; `String(query)` is its text as it came. */
export class Query extends Fields {
  #text;

  /** @param {string} text */
  constructor(text = "") {
    const pairs = text.split("&").filter(Boolean);
    super(pairs.map((pair) => /^([^=]*)=?(.*)$/s.exec(pair).slice(1).map(decoded)));
    this.#text = text;
  }

  toString() {
    return this.#text;
  }
}

/** A part of a query; bytes that are no UTF-8 stay as they came. */
function decoded(part) {
  const spaced = part.replaceAll("+", " ");
  try {
    return decodeURIComponent(spaced);
  } catch {
    return spaced;
  }
}

/** What a request to open a WebSocket, a plain one and a connection have in common. */
class Facts {
  constructor({ path, parameters, query, headers, peer }) {
    /** Percent-decoded, dot segments removed. */
    this.path = path;
    /** What the braces of the route's pattern stood for. @type {Record<string, string>} */
    this.parameters = Object.fromEntries(parameters);
    /** The part of the URL after the question mark. */
    this.query = new Query(query);
    /** Header fields of the request. */
    this.headers = new Headers(headers);
    /** Who asks; null on a Unix socket. @type {Peer | null} */
    this.peer = peer ?? null;
  }
}

/** The facts of a connection, fixed when it was accepted. */
export class ConnectionFacts extends Facts {
  constructor(record) {
    super(record);
    /** The one agreed on, or null. @type {string | null} */
    this.subprotocol = record.subprotocol ?? null;
  }
}

/** A request to open a WebSocket that has passed the checks of RFC 6455 §4.2.1. */
export class UpgradeRequest extends Facts {
  constructor(record) {
    super(record);
    /** What the client offers, most wanted first. @type {string[]} */
    this.subprotocols = record.subprotocols;
  }
}

/** A plain HTTP request. */
export class Request extends Facts {
  constructor(record) {
    super(record);
    /** In upper case, such as `GET`. @type {string} */
    this.method = record.method;
    /** The whole body. @type {Uint8Array} */
    this.body = record.body;
  }

  /** The body as text. */
  text() {
    return new TextDecoder().decode(this.body);
  }

  /** The value that the body holds as JSON. */
  json() {
    return JSON.parse(this.text());
  }
}

/** An HTTP response. */
export class Response {
  /**
   * @param {string | Uint8Array} body text is sent as UTF-8
   * @param {{status?: number, headers?: HeadersInit}} options the status is 200 to 599, or 101 to answer an
   *   upgrade request by hand; a text is `text/plain` if no header says otherwise
   */
  constructor(body = "", { status = 200, headers = {} } = {}) {
    if (status !== 101 && !(Number.isInteger(status) && status >= 200 && status <= 599)) {
      throw new RangeError(`an HTTP status is 101 or 200 to 599, not ${status}`);
    }
    this.status = status;
    const isText = typeof body === "string";
    this.body = isText ? new TextEncoder().encode(body) : bytes(body, "a body");
    this.headers = isText && body ? typed(headers, "text/plain; charset=utf-8") : new Headers(headers);
  }

  /**
   * A page.
   * @param {string} html
   * @param {{status?: number, headers?: HeadersInit}} options as of the constructor
   */
  static html(html, { status, headers = {} } = {}) {
    return new Response(html, { status, headers: typed(headers, "text/html; charset=utf-8") });
  }

  /**
   * Anything that `JSON.stringify` takes.
   * @param {any} value
   * @param {{status?: number, headers?: HeadersInit}} options as of the constructor
   */
  static json(value, { status, headers = {} } = {}) {
    return new Response(JSON.stringify(value), { status, headers: typed(headers, "application/json") });
  }
}

/** Header fields with a content type, unless they have one. */
function typed(headers, type) {
  const fields = new Headers(headers);
  return fields.has("content-type") ? fields : new Headers([...fields, ["content-type", type]]);
}

/** The answer of `upgradeConnection` that lets a client in. */
export class Accept {
  /**
   * @param {{subprotocol?: string | null, headers?: HeadersInit, tags?: Iterable<string>, attachment?: any}}
   *   options `subprotocol`: one of those the client offered; `headers`: added to the 101 response; `tags` and
   *   `attachment`: as of the connection
   */
  constructor({ subprotocol = null, headers = {}, tags = [], attachment = null } = {}) {
    this.subprotocol = subprotocol === null ? null : text(subprotocol, "a subprotocol");
    this.headers = new Headers(headers);
    this.tags = tagged(tags);
    this.attachment = kept(attachment);
  }
}

// Into what the contract calls it

/** Text in Unicode; half of a surrogate pair becomes U+FFFD, as where a browser sends it. */
export function text(value, what) {
  if (typeof value !== "string") throw new TypeError(`${what} must be text, not ${kind(value)}`);
  return value.toWellFormed();
}

/** Bytes, of any array of them. */
export function bytes(value, what) {
  if (value instanceof Uint8Array) return value;
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  throw new TypeError(`${what} must be a Uint8Array, not ${kind(value)}`);
}

/** What a value is, in a word. */
export function kind(value) {
  return value === null ? "null" : typeof value === "object" ? value.constructor?.name ?? "object" : typeof value;
}

/** The variant `data`. */
export function data(value, what) {
  if (typeof value === "string") return { tag: "text", val: value.toWellFormed() };
  if (value instanceof Uint8Array || value instanceof ArrayBuffer) {
    return { tag: "binary", val: bytes(value, what) };
  }
  throw new TypeError(`${what} must be a string or a Uint8Array, not ${kind(value)}`);
}

/** The variant `message`. */
export function message(value, what = "a message") {
  if (typeof value === "string") return data(value, what); // as most are
  if (value instanceof Ping) return { tag: "ping", val: value.payload };
  if (value instanceof Pong) return { tag: "pong", val: value.payload };
  if (value instanceof Close) return { tag: "close", val: value };
  return data(value, what);
}

/** Tags, each once. */
export function tagged(tags) {
  if (typeof tags === "string") throw new TypeError("tags are several texts, not one");
  return [...new Set(tags)].map((each) => text(each, "a tag"));
}

/** Plain data as JSON; none for null, and for what JSON cannot hold. */
export function kept(value) {
  return value === null ? null : JSON.stringify(value)?.toWellFormed() ?? null;
}

/** The reverse of `kept`. */
export function found(json) {
  return json == null ? null : JSON.parse(json);
}
