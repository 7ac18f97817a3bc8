// Page behaviour beyond server-rendered HTML: live updates, keyboard shortcuts, file drop, and restoring typed text.
"use strict";
const body = document.body;
const all = (selector) => [...document.querySelectorAll(selector)];

// On a change, live parts are reloaded at most once a second and announced at most every ten seconds.
let due = null, announced = 0;
function changed() {
  if (due || document.hidden) return;
  due = setTimeout(() => { due = null; for (const part of all("[data-live]")) htmx.trigger(part, "live"); }, 1000);
}
function mine(message) {
  if (message.name === "open") return changed();
  if (message.name === "lost") return;
  let data = {};
  try { data = JSON.parse(message.data); } catch { return; }
  if (!body.dataset.project || data.project === body.dataset.project || data.slug === body.dataset.project) changed();
}
function follow() {
  if (!document.querySelector("[data-live]") || !("signedIn" in body.dataset)) return;
  if (window.SharedWorker) {
    const worker = new SharedWorker(body.dataset.stream);
    worker.port.onmessage = (event) => mine(event.data);
    worker.port.start();
    addEventListener("pagehide", () => worker.port.postMessage("bye"));
    addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
  } else {
    const source = new EventSource("/api/v1/events");
    for (const name of ["job", "review", "project"]) source.addEventListener(name, (event) => mine({ name, data: event.data }));
    source.addEventListener("open", () => mine({ name: "open" }));
  }
  document.addEventListener("visibilitychange", changed);
  setInterval(changed, 10000);
}
document.addEventListener("htmx:afterSwap", () => {
  const titled = document.querySelector("[data-title]");
  if (titled) document.title = titled.dataset.title;
  const heading = document.querySelector("[data-live] h1");
  if (heading && Date.now() - announced > 10000) {
    announced = Date.now();
    document.getElementById("announce").textContent = heading.textContent;
  }
});

// If a live part cannot be reloaded, say so, because it would otherwise look current.
let fresh = new Date();
// After a swap, the event target is the new element; the old one is no longer in the document.
document.addEventListener("htmx:afterSwap", (event) => {
  if (event.target.id !== "live") return;
  fresh = new Date();
  document.getElementById("stale").hidden = true;
});
const STALE = { 0: "The service is not responding. ", 401: "You are signed out. ", 403: "You no longer have access to this page. ", 404: "This page no longer exists. " };
document.addEventListener("htmx:afterRequest", (event) => {
  if (event.detail.successful || !event.detail.elt.matches("[data-live]")) return;
  const note = document.getElementById("stale"), status = event.detail.xhr.status;
  note.hidden = false;
  const link = Object.assign(document.createElement("a"), { href: location.href, textContent: "Reload" });
  note.replaceChildren(`${STALE[status] ?? "This page could not be updated. "}It shows the state as of ${fresh.toLocaleTimeString()}. `, link, ".");
});

// htmx: send the CSRF token with each request, and show errors at the top of the page.
document.addEventListener("htmx:configRequest", (event) => {
  event.detail.headers["X-CSRF-Token"] = document.querySelector("meta[name=csrf]").content;
});
document.addEventListener("htmx:beforeSwap", (event) => {
  if (event.detail.xhr.status < 400 || event.detail.elt.matches("[data-live]")) return;
  const problem = new DOMParser().parseFromString(event.detail.xhr.responseText, "text/html").querySelector(".problem");
  if (problem) document.getElementById("problem").replaceChildren(problem);
});

// Keyboard shortcuts are inactive in form fields. Each has a visible button.
const field = (element) => element.closest("input, textarea, select, [contenteditable]");
let going = false;
document.getElementById(location.hash.slice(1))?.closest(".rows tbody tr")?.classList.add("at"); // the row just closed
function step(by) {
  const rows = all(".rows tbody tr");
  if (!rows.length) return;
  const now = rows.findIndex((row) => row.classList.contains("at") || row.hasAttribute("aria-current"));
  const next = rows[Math.max(0, Math.min(rows.length - 1, now < 0 ? 0 : now + by))];
  rows.forEach((row) => row.classList.toggle("at", row === next));
  next.querySelector("a").focus();
}
document.addEventListener("keydown", (event) => {
  if (sent || event.ctrlKey || event.metaKey || event.altKey || field(event.target)) return;
  const press = (element) => { if (element) { event.preventDefault(); element.click(); } };
  if (going) { going = false; return press(document.querySelector(`[data-go="${CSS.escape(event.key)}"]`)); }
  if (event.key === "g") { going = true; setTimeout(() => { going = false; }, 1500); return; }
  if (event.key === "/") { const search = document.querySelector("input[type=search]"); if (search) { event.preventDefault(); search.focus(); } return; }
  if (event.key === "j" || event.key === "k") return step(event.key === "j" ? 1 : -1);
  const typed = all("textarea").some((field) => field.value !== field.defaultValue);
  if (event.key === "Escape" && !typed && !document.querySelector("dialog[open]")) return press(document.querySelector(".drawer-head a"));
  if (event.key === "?") return press(document.querySelector("[data-keys]"));
  if (/^[a-z]$/.test(event.key) && !event.repeat) press(document.querySelector(`[data-key="${event.key}"]`));
});
for (const button of all("[data-keys]")) {
  button.hidden = false;
  button.addEventListener("click", () => document.getElementById("keys").showModal());
}

// A file dropped on a text field is set as the file of the form.
document.addEventListener("dragover", (event) => { if (event.target.closest("[data-drop]")) event.preventDefault(); });
document.addEventListener("drop", async (event) => {
  const into = event.target.closest("[data-drop]");
  if (!into || !event.dataTransfer.files.length) return;
  event.preventDefault();
  const picked = document.getElementById(into.dataset.drop);
  picked.files = event.dataTransfer.files;
  picked.dispatchEvent(new Event("change", { bubbles: true }));
});

// If the session expired while the user was typing, keep what was submitted in this tab until they sign in again.
const kept = "typed";
addEventListener("submit", ({ target: form }) => {
  if (form.method !== "post" || !("signedIn" in body.dataset)) return;
  const fields = [...form.elements].filter((field) => field.name && !["hidden", "password", "file"].includes(field.type));
  const typed = fields.map((field) => [field.name, field.value, field.checked]);
  try { sessionStorage.setItem(kept, JSON.stringify({ page: location.pathname, form: form.getAttribute("action"), typed })); } catch { /* exceeds the storage limit */ }
});
function bringBack() {
  const held = JSON.parse(sessionStorage.getItem(kept) ?? "null");
  if (!held) return;
  if (!("signedIn" in body.dataset)) {
    for (const link of all("[data-sign-in]")) link.href = `/sign-in?next=${encodeURIComponent(held.page)}`;
    return sessionStorage.setItem(kept, JSON.stringify({ ...held, back: true }));
  }
  sessionStorage.removeItem(kept);
  const form = held.back && all("form[action]").find((form) => form.getAttribute("action") === held.form);
  if (!form || location.pathname !== held.page) return;
  const fields = [...form.elements].filter((field) => field.name && !["hidden", "password", "file"].includes(field.type));
  held.typed.forEach(([name, value, checked], at) => {
    if (fields[at]?.name !== name) return;
    if (["radio", "checkbox"].includes(fields[at].type)) fields[at].checked = checked; else fields[at].value = value;
  });
  const note = document.getElementById("stale");
  note.textContent = "Your input has been restored. Submit it again.";
  note.hidden = false;
  form.before(note);
  note.scrollIntoView();
}
bringBack();
// Once a form is on its way, what is pressed is meant for the page that it leads to: on a slow network it was taken as
// another answer to the row that had just been answered.
let sent = false;
document.addEventListener("submit", (event) => {
  if (sent) return event.preventDefault();
  const asks = event.target.dataset.confirm ?? event.target.querySelector("option[data-confirm]:checked")?.dataset.confirm;
  if (asks && !confirm(asks)) event.preventDefault();
  if (event.defaultPrevented || event.target.method === "dialog") return;
  sent = true;
  setTimeout(() => { sent = false; }, 20000); // loading may have been stopped
});
addEventListener("pageshow", () => { sent = false; });
document.addEventListener("click", (event) => {
  const copy = event.target.closest("[data-copy]");
  if (!copy) return;
  navigator.clipboard.writeText(document.getElementById(copy.dataset.copy).textContent);
  copy.textContent = "Copied";
});
for (const copy of all("[data-copy]")) copy.hidden = false;
for (const form of all("form[data-submit-on-load]")) form.submit();
follow();
