// What JavaScript takes for granted and QuickJS does not have, or would ask an operating system for.

import { log, monotonic, now, random } from "theater:websocket/host@0.2.0";

let running = false;

/** From here on the host can be asked; while the component is built there is none. */
export function run() {
  running = true;
}

function host(what, ask) {
  if (!running) throw new Error(`there is no ${what} while a component is built: ask for it in init()`);
  return ask();
}

// Time

const milliseconds = () => host("clock", () => Math.trunc(now() * 1000));
const NativeDate = Date;
NativeDate.now = milliseconds;
globalThis.Date = new Proxy(NativeDate, {
  construct: (target, values, made) =>
    Reflect.construct(target, values.length ? values : [milliseconds()], made),
  apply: () => new NativeDate(milliseconds()).toString(),
});
NativeDate.prototype.constructor = Date;
globalThis.performance = { now: () => host("clock", () => monotonic() * 1000) };

// Chance

const MOST = 65_536; // bytes that the host gives at once

/** Fills an array from a source fit for secrets. */
function getRandomValues(array) {
  const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  for (let start = 0; start < bytes.length; start += MOST) {
    const count = Math.min(MOST, bytes.length - start);
    bytes.set(host("chance", () => random(count)), start);
  }
  return array;
}

/** A UUID of version 4 (RFC 9562 §5.4). */
function randomUUID() {
  const bytes = getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (each) => each.toString(16).padStart(2, "0")).join("");
  return hex.replace(/(.{8})(.{4})(.{4})(.{4})(.{12})/, "$1-$2-$3-$4-$5");
}

globalThis.crypto = { getRandomValues, randomUUID };

let seeds = null;

/** The next 32 bits of the generator sfc32, which the host seeds. */
function next() {
  seeds ??= getRandomValues(new Uint32Array(4));
  const [a, b, c, count] = seeds;
  const sum = (a + b + count) >>> 0;
  seeds[0] = b ^ (b >>> 9);
  seeds[1] = c + (c << 3);
  seeds[2] = ((c << 21) | (c >>> 11)) + sum;
  seeds[3] = count + 1;
  return sum;
}

Math.random = () => ((next() >>> 5) * 2 ** 26 + (next() >>> 6)) / 2 ** 53;

// The log

/** An error and where it came from, in one line; the frames of this package are left out. */
export function described(error) {
  const frames = (error.stack ?? "").split("\n").map((line) => line.trim());
  const own = frames.filter((line) => line && !/\/node_modules\/theater\/|\(native\)/.test(line));
  return [String(error), ...own.map((line) => line.replace(/(^at |\()\//, "$1"))].join(", ").toWellFormed();
}

function shown(value) {
  if (typeof value === "string") return value;
  if (value instanceof Error) return described(value);
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return String(value); // it refers to itself, or holds a BigInt
  }
}

const logger = (level) => (...values) => {
  if (running) log(level, values.map(shown).join(" ").toWellFormed()); // while it is built nobody listens
};

globalThis.console = {
  debug: logger("debug"),
  log: logger("info"),
  info: logger("info"),
  warn: logger("warning"),
  error: logger("error"),
};

// Text, as in <https://encoding.spec.whatwg.org/>, UTF-8 only

globalThis.TextEncoder = class TextEncoder {
  encoding = "utf-8";

  encode(text = "") {
    const bytes = [];
    for (const each of String(text).toWellFormed()) {
      const code = each.codePointAt(0);
      if (code < 0x80) bytes.push(code);
      else if (code < 0x800) bytes.push(0xc0 | (code >> 6), 0x80 | (code & 63));
      else if (code < 0x10000) bytes.push(0xe0 | (code >> 12), 0x80 | ((code >> 6) & 63), 0x80 | (code & 63));
      else {
        bytes.push(0xf0 | (code >> 18), 0x80 | ((code >> 12) & 63));
        bytes.push(0x80 | ((code >> 6) & 63), 0x80 | (code & 63));
      }
    }
    return new Uint8Array(bytes);
  }
};

globalThis.TextDecoder = class TextDecoder {
  encoding = "utf-8";

  constructor(label = "utf-8", { fatal = false, ignoreBOM = false } = {}) {
    if (!/^\s*utf-?8\s*$/i.test(label)) throw new RangeError(`the encoding ${label} is not known here`);
    this.fatal = fatal;
    this.ignoreBOM = ignoreBOM;
  }

  decode(data = new Uint8Array(), { stream = false } = {}) {
    if (stream) throw new TypeError("TextDecoder decodes whole texts here");
    const bytes = ArrayBuffer.isView(data)
      ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
      : new Uint8Array(data);
    const parts = [];
    for (let place = 0; place < bytes.length; ) {
      const [code, length] = character(bytes, place);
      if (code < 0 && this.fatal) throw new TypeError("the bytes are no UTF-8");
      parts.push(String.fromCodePoint(code < 0 ? 0xfffd : code));
      place += length;
    }
    if (parts[0] === "\ufeff" && !this.ignoreBOM) parts.shift();
    return parts.join("");
  }
};

/** The character at a place, -1 if it is none, and how many bytes it takes. */
function character(bytes, place) {
  const first = bytes[place];
  if (first < 0x80) return [first, 1];
  const more = first < 0xc2 ? 0 : first < 0xe0 ? 1 : first < 0xf0 ? 2 : first < 0xf5 ? 3 : 0;
  if (!more) return [-1, 1];
  // Unicode 3.9, table 3-7: neither longer than need be, nor a surrogate, nor beyond 10FFFF
  let least = { 0xe0: 0xa0, 0xf0: 0x90 }[first] ?? 0x80;
  let most = { 0xed: 0x9f, 0xf4: 0x8f }[first] ?? 0xbf;
  let code = first & (0x3f >> more);
  for (let index = 1; index <= more; index++) {
    const byte = bytes[place + index];
    if (!(byte >= least && byte <= most)) return [-1, index];
    [least, most] = [0x80, 0xbf];
    code = (code << 6) | (byte & 63);
  }
  return [code, more + 1];
}
