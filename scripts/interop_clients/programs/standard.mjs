// The WebSocket of the WHATWG, as in browsers and in Node.

import { binary, same, text } from "./patterns.mjs";

export function talk(task) {
  return new Promise((resolve, reject) => {
    const subprotocols = task.subprotocols ? task.subprotocols.split(",") : [];
    // Headers can be given in Node only; a browser sends the page's origin.
    const inNode = typeof document === "undefined";
    const options = inNode && task.origin
      ? { protocols: subprotocols, headers: { Origin: task.origin } }
      : subprotocols;
    const socket = new WebSocket(task.url, options);
    socket.binaryType = "arraybuffer";
    const answer = {};
    let done = false;
    const actions = {
      async echo() {
        for (const message of task.messages.split(" ")) {
          const [kind, size] = message.split(":");
          const data = kind === "text" ? text(Number(size)) : binary(Number(size));
          const echo = new Promise((received) => { socket.onmessage = (event) => received(event.data); });
          socket.send(data);
          const received = await echo;
          const whole = typeof received === "string" ? received : new Uint8Array(received);
          if (!same(data, whole)) throw Error(`the echo of ${message} differs`);
        }
        done = true;
        socket.close(1000);
      },
      async closed() {
        done = true;
        socket.send("close");
      },
      async close() {
        done = true;
        socket.close(Number(task.code), task.reason);
      },
    };
    socket.onopen = () => {
      answer.subprotocol = socket.protocol;
      actions[task.action]().catch(reject);
    };
    // Undici tells of a refusal with this event only.
    socket.onerror = () => reject(Error("the connection has failed"));
    socket.onclose = (event) => {
      if (!done) reject(Error(`closed with ${event.code}`));
      resolve({ ...answer, code: String(event.code), reason: event.reason });
    };
  });
}
