// Makes a component's exports of an actor class.

import { described, run } from "./globals.js";
import { Actor, connectionOf, forget } from "./theater.js";
import { Accept, Ping, Pong, Request, Response, UpgradeRequest, data, kind, message } from "./values.js";

const CONNECTED = Object.freeze({ type: "connected" });
const DRAINED = Object.freeze({ type: "drained" });

/** What a class may define besides `init`. */
const HANDLERS = [
  "upgradeConnection",
  "handleWebsocket",
  "handleBatch",
  "handleChunk",
  "handleRequest",
  "handleMessage",
];

/**
 * The exports of a component, by interface.
 * @param {typeof Actor} Class of the actor
 * @param {string[]} expected the handlers that the component is built for
 */
export function expose(Class, expected) {
  if (!(Class?.prototype instanceof Actor)) {
    throw new TypeError("the module has no class that extends Actor as its default export");
  }
  check(Class, expected);
  /** @type {Actor} */
  let actor;

  const handle = (id, event) => {
    try {
      return settled(actor.handleWebsocket(connectionOf(id), eventOf(event)));
    } finally {
      if (event.tag === "closed") forget(id);
    }
  };
  return {
    lifecycle: {
      init: guarded(() => {
        run();
        actor = new Class();
        const field = HANDLERS.find((name) => Object.hasOwn(actor, name));
        if (field) throw new TypeError(`${field} must be a method of the class, not a field of its objects`);
        settled(actor.init());
      }),
    },
    websocketUpgrade: {
      upgradeConnection: guarded((request) => {
        return decision(settled(actor.upgradeConnection(new UpgradeRequest(request))));
      }),
    },
    websocketActor: {
      handleWebsocket: guarded((id, event) => messages(handle(id, event), "handleWebsocket")),
    },
    batchActor: {
      handleBatch: guarded((batch) => {
        try {
          settled(actor.handleBatch(batch.map(([id, event]) => [connectionOf(id), eventOf(event)])));
        } finally {
          for (const [id, event] of batch) if (event.tag === "closed") forget(id);
        }
      }),
    },
    streamActor: {
      handleChunk: guarded((id, chunk, last) => {
        return messages(settled(actor.handleChunk(connectionOf(id), chunk.val, last)), "handleChunk");
      }),
    },
    httpActor: {
      handleRequest: guarded((request) => {
        const answer = settled(actor.handleRequest(new Request(request)));
        if (answer instanceof Response) return responseOf(answer);
        throw new TypeError(`handleRequest must return a Response, not ${kind(answer)}`);
      }),
    },
    messageActor: {
      handleMessage: guarded((received, sender) => {
        const answer = settled(actor.handleMessage(received.val, sender));
        return answer == null ? null : data(answer, "what handleMessage returns");
      }),
    },
  };
}

/** Throws `HANDLERS: ...` if the class has other handlers than expected; the builder reads that. */
function check(Class, expected) {
  const defined = HANDLERS.filter((name) => Class.prototype[name] !== Actor.prototype[name]);
  for (const name of ["init", ...defined]) {
    if (Class.prototype[name].constructor.name === "AsyncFunction") {
      throw new TypeError(`${name} is async: handlers answer at once, and what waits needs no await`);
    }
  }
  if (defined.join() !== expected.join()) throw new Error(`HANDLERS: ${defined.join(" ")}`);
}

/** A function whose errors are sentences: a string that is thrown is the `result`'s error. */
function guarded(call) {
  return (first, second, third) => {
    try {
      return call(first, second, third);
    } catch (error) {
      throw error instanceof Error ? described(error) : `thrown: ${String(error)}`.toWellFormed();
    }
  };
}

/** What a handler returned, which cannot be a promise: nothing runs while no handler does. */
function settled(value) {
  if (value instanceof Promise) throw new TypeError("a handler returned a Promise: handlers answer at once");
  return value;
}

function eventOf({ tag, val }) {
  switch (tag) {
    case "received":
      return { type: tag, message: incoming(val) };
    case "connected":
      return CONNECTED;
    case "closed":
      return { type: tag, code: val.code, reason: val.reason };
    case "error":
      return { type: tag, problem: val };
    case "congested":
      return { type: tag, waiting: val };
    default:
      return DRAINED;
  }
}

function incoming({ tag, val }) {
  return tag === "ping" ? new Ping(val) : tag === "pong" ? new Pong(val) : val;
}

function messages(reply, handler) {
  if (reply == null) return [];
  const what = `what ${handler} returns`;
  return Array.isArray(reply) ? reply.map((each) => message(each, what)) : [message(reply, what)];
}

function decision(answer) {
  if (answer == null) return null;
  if (answer instanceof Accept) return { tag: "accept", val: { ...answer, headers: [...answer.headers] } };
  if (answer instanceof Response) return { tag: "response", val: responseOf(answer) };
  throw new TypeError(`upgradeConnection must return an Accept or a Response, not ${kind(answer)}`);
}

function responseOf({ status, headers, body }) {
  return { status, headers: [...headers], body };
}
