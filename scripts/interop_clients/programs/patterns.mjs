// What is sent, as in `harness.py`.

export const PAYLOAD = "ping!";

const noise = new Uint8Array(65521);
for (let i = 0, x = 1; i < noise.length; i++) {
  x = (x * 75 + 74) % 65537;
  noise[i] = x & 15;
}

export function binary(size) {
  const data = new Uint8Array(size);
  for (let at = 0; at < size; at += noise.length) data.set(noise.subarray(0, size - at), at);
  return data;
}

export function text(size) {
  let data = "";
  for (let i = 0; i < Math.floor(size / 10); i++) data += noise[i % noise.length].toString(16) + "é→🎭";
  return data + "x".repeat(size % 10);
}

export function thirds(data) {
  const third = Math.floor(data.length / 3);
  return [data.slice(0, third), data.slice(third, 2 * third), data.slice(2 * third)];
}

export function same(sent, received) {
  if (typeof sent === "string") return sent === received;
  if (typeof received === "string" || received.length !== sent.length) return false;
  return sent.every((byte, i) => byte === received[i]);
}
