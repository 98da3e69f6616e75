// The client of the package `ws`. The folder that it is installed in is the first argument.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

import { binary, PAYLOAD, same, text, thirds } from "./patterns.mjs";

const require = createRequire(process.argv[2] + "/");
const WebSocket = require("ws");

function talk(task) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(task.url, task.subprotocols ? task.subprotocols.split(",") : [], {
      perMessageDeflate: task.compress !== "",
      headers: task.origin ? { Origin: task.origin } : {},
    });
    const answer = {};
    let done = false;
    const next = () => new Promise((received) => socket.once("message", (...message) => received(message)));
    const actions = {
      async echo() {
        for (const message of task.messages.split(" ")) {
          const [kind, size] = message.split(":");
          const data = kind === "text" ? text(Number(size)) : binary(Number(size));
          const echo = next();
          const parts = task.fragments ? thirds(data) : [data];
          parts.forEach((part, index) => socket.send(part, { fin: index === parts.length - 1 }));
          const [received, isBinary] = await echo;
          if (!same(data, isBinary ? received : received.toString())) throw Error(`the echo of ${message} differs`);
        }
        done = true;
        socket.close(1000);
      },
      async ping() {
        const pong = new Promise((received) => socket.once("pong", received));
        socket.ping(PAYLOAD);
        if ((await pong).toString() !== PAYLOAD) throw Error("another pong");
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
    socket.on("open", () => {
      answer.subprotocol = socket.protocol;
      actions[task.action]().catch(reject);
    });
    socket.on("error", reject);
    socket.on("close", (code, reason) => {
      if (!done) reject(Error(`closed with ${code}`));
      resolve({ ...answer, code: String(code), reason: reason.toString() });
    });
  });
}

console.log(JSON.stringify({ version: require("ws/package.json").version }));
for await (const line of createInterface({ input: process.stdin })) {
  const answer = await talk(JSON.parse(line)).catch((error) => ({ error: String(error) }));
  console.log(JSON.stringify(answer));
}
