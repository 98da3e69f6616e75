# Usage: workerd serve workerd_broadcast.capnp --socket-addr http=127.0.0.1:PORT
using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [(name = "room", worker = .room)],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "room")],
);

const room :Workerd.Worker = (
  modules = [(name = "workerd_broadcast.js", esModule = embed "workerd_broadcast.js")],
  compatibilityDate = "2025-01-01",
  durableObjectNamespaces = [(className = "Room", uniqueKey = "theater-benchmark-room")],
  durableObjectStorage = (inMemory = void),
  bindings = [(name = "room", durableObjectNamespace = "Room")],
);
