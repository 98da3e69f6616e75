// Node's own WebSocket.

import { createInterface } from "node:readline";

import { talk } from "./standard.mjs";

console.log(JSON.stringify({ version: process.versions.undici }));
for await (const line of createInterface({ input: process.stdin })) {
  const answer = await talk(JSON.parse(line)).catch((error) => ({ error: String(error) }));
  console.log(JSON.stringify(answer));
}
