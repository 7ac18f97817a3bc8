// Page behaviour beyond server-rendered HTML: live updates, keyboard shortcuts, file drop, and restoring typed text.
"use strict";
const body = document.body;
const all = (selector) => [...document.querySelectorAll(selector)];

// Once a form is sent or a link is followed, what is pressed is meant for the page that it leads to: on a slow network
// it was taken as an answer to the row that had just been answered or closed.
let leaving = false;
function leave() {
  leaving = true;
  setTimeout(() => { leaving = false; }, 20000); // loading may have been stopped
}
addEventListener("pageshow", () => { leaving = false; });

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

// A row that is open beside the list stays in view there: its link leads to the top of the drawer, which is beside the first row.
addEventListener("load", () => {
  const opened = document.querySelector(":target"), row = document.querySelector(".rows tr[aria-current]");
  const place = row?.getBoundingClientRect();
  if (place?.bottom > innerHeight && opened?.getBoundingClientRect().left > place.right) row.scrollIntoView({ block: "center" });
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
  if (leaving || event.ctrlKey || event.metaKey || event.altKey || field(event.target)) return;
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
const fieldsOf = (form) => [...form.elements].filter((field) => field.name && !["hidden", "password", "file"].includes(field.type));
function pageHere() { // without the note on what was done last
  const query = new URLSearchParams(location.search);
  query.delete("done");
  return [location.pathname, query.toString()].filter(Boolean).join("?");
}
addEventListener("submit", (event) => {
  const form = event.target;
  if (event.defaultPrevented || form.method !== "post" || !("signedIn" in body.dataset)) return;
  const typed = fieldsOf(form).map((field) => [field.name, field.value, field.checked]);
  try { sessionStorage.setItem(kept, JSON.stringify({ page: pageHere(), form: form.getAttribute("action"), typed })); } catch { /* exceeds the storage limit */ }
});
function bringBack() {
  const held = JSON.parse(sessionStorage.getItem(kept) ?? "null");
  if (!held) return;
  if (!("signedIn" in body.dataset)) {
    for (const link of all("[data-sign-in]")) link.href = `/sign-in?next=${encodeURIComponent(held.page)}`;
    return sessionStorage.setItem(kept, JSON.stringify({ ...held, back: true }));
  }
  sessionStorage.removeItem(kept);
  if (!held.back || pageHere() !== held.page) return;
  // The answers to a row are sent to the same address by forms with different fields.
  const forms = all("form[action]").filter((form) => form.getAttribute("action") === held.form);
  const form = forms.find((form) => fieldsOf(form).map((field) => field.name).join() === held.typed.map(([name]) => name).join()) ?? forms[0];
  if (!form) return;
  const fields = fieldsOf(form);
  held.typed.forEach(([name, value, checked], at) => {
    if (fields[at]?.name !== name) return;
    if (["radio", "checkbox"].includes(fields[at].type)) fields[at].checked = checked; else fields[at].value = value;
  });
  form.closest("details")?.setAttribute("open", "");
  const note = document.getElementById("stale");
  note.textContent = "Your input has been restored. Submit it again.";
  note.hidden = false;
  form.before(note);
  note.scrollIntoView();
}
bringBack();
document.addEventListener("submit", (event) => {
  if (leaving) return event.preventDefault();
  const asks = event.target.dataset.confirm ?? event.target.querySelector("option[data-confirm]:checked")?.dataset.confirm;
  if (asks && !confirm(asks)) event.preventDefault();
  if (!event.defaultPrevented && event.target.method !== "dialog") leave();
});
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href]");
  if (!link || event.defaultPrevented || event.ctrlKey || event.metaKey || event.shiftKey || link.hasAttribute("download")) return;
  if (link.pathname + link.search !== location.pathname + location.search) leave();
});
document.addEventListener("click", (event) => {
  const copy = event.target.closest("[data-copy]");
  if (!copy) return;
  navigator.clipboard.writeText(document.getElementById(copy.dataset.copy).textContent);
  copy.textContent = "Copied";
});
for (const copy of all("[data-copy]")) copy.hidden = false;
for (const form of all("form[data-submit-on-load]")) form.submit();
follow();
