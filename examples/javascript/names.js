// Names of members.

const MOST = 24; // characters

/** The name in one line, without what cannot be seen, and not too long. */
export function clean(name) {
  const visible = name.normalize("NFKC").replace(/[\p{C}\p{Z}]+/gu, " ").trim();
  return [...visible].slice(0, MOST).join("").trimEnd() || "Guest";
}

/** Ada, or, if that is taken, Ada 2, Ada 3, ... */
export function free(wanted, taken) {
  const others = new Set(taken.map((each) => each.toLowerCase()));
  for (let number = 1, name = wanted; ; name = `${wanted} ${++number}`) {
    if (!others.has(name.toLowerCase())) return name;
  }
}
