# Usage: workerd serve workerd_echo.capnp --socket-addr http=127.0.0.1:PORT
using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [(name = "echo", worker = .echo)],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "echo")],
);

const echo :Workerd.Worker = (
  modules = [(name = "workerd_echo.js", esModule = embed "workerd_echo.js")],
  compatibilityDate = "2025-01-01",
  durableObjectNamespaces = [(className = "Echo", uniqueKey = "theater-benchmark-echo")],
  durableObjectStorage = (inMemory = void),
  bindings = [(name = "echo", durableObjectNamespace = "Echo")],
);
