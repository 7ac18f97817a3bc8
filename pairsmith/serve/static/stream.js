// One shared event stream for all open pages, because browsers allow only six connections per host.
"use strict";
const ports = new Set();
let source = null;
const last = new Map();

function tell(message) {
  for (const port of ports) port.postMessage(message);
}

function open() {
  last.clear();
  source = new EventSource("/api/v1/events");
  for (const name of ["job", "review", "project"]) {
    source.addEventListener(name, (event) => {
      const message = { name, data: event.data };
      let of = "";
      try { of = JSON.parse(event.data).key || ""; } catch { of = ""; }
      last.set(name + of, message);
      tell(message);
    });
  }
  source.addEventListener("open", () => tell({ name: "open" }));
  // On reconnecting, the browser sends the id of the last event. If the server does not know that id, it sends every
  // current state again; what an earlier stream sent may belong to another user.
  source.addEventListener("anew", () => last.clear());
  source.addEventListener("error", () => {
    tell({ name: "lost" });
    // The browser reconnects by itself after a network error, but not after an HTTP error.
    if (source.readyState === EventSource.CLOSED) { source = null; setTimeout(() => { if (ports.size && !source) open(); }, 5000); }
  });
}

self.onconnect = (event) => {
  const port = event.ports[0];
  ports.add(port);
  port.onmessage = (sent) => {
    if (sent.data !== "bye") return;
    ports.delete(port);
    if (!ports.size && source) { source.close(); source = null; }
  };
  port.start();
  if (source) for (const message of last.values()) port.postMessage(message);
  else open();
};
