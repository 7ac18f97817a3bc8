// Added to Argilla's page by our own server; acts only on pairsmith's queues. Every key has the same meaning wherever the
// focus is, a contradictory answer needs confirmation, and an answer that the server could not accept is sent again until
// it is stored. Argilla's own keys keep working.
(() => {
  const VERDICTS = { 1: "accept", 2: "reject", 3: "edit" };
  const ROWS = ["qwertyuiop", "asdfghjkl", "zxcvbnm"]; // one keyboard row per question
  addEventListener("resize", () => scheduleDecorate());
  const ASIDE = ["What the programs found", "House style", "Other outputs for this input"];
  const one = (selector) => document.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const option = (id) => document.getElementById(id);
  const isOurs = () => Object.values(VERDICTS).every((verdict) => option(`verdict_${verdict}`));
  const question = (name) => one(`[aria-label='Question: ${name}']`);
  const nameOf = (element) => element.getAttribute("aria-label").replace("Question: ", "");
  const chosen = () => Object.values(VERDICTS).find((verdict) => option(`verdict_${verdict}`).checked);
  const reasons = () => all("[id^='reasons_']:checked").map((box) => box.id);
  const labels = () => all("[id^='edited_']:checked");
  const texts = () => all("[aria-label^='Question: edited'] [contenteditable]");
  const isTextInput = (target) =>
    target.isContentEditable || (target.matches("input, textarea") && !target.matches("[type=checkbox]"));

  let opened = false; // a row of ours has been shown since the page was loaded
  let letters = {}; // letter -> id of the option's input
  let placed = ""; // the row and window size for which the house style's place was chosen
  let confirming = ""; // the contradictory answer whose warning is shown; submitting it again confirms it
  const originals = new Map(); // row and question -> the text before the annotator changed it

  function fieldTitled(title) {
    return all(".fields .title-area").find((head) => head.innerText.trim() === title)?.parentElement;
  }

  // Hide options that do not apply to the displayed row, and assign a letter to each of the others.
  function decorate() {
    document.body.classList.toggle("pairsmith", isOurs());
    if (!isOurs() || reopenAtFirstPage()) return;
    const others = all("p", fieldTitled("Other outputs for this input") ?? document.createElement("p")).length;
    const best = question("best");
    if (best) {
      best.hidden = !others;
      all("[id^='best_']", best).slice(1).forEach((box, at) => (box.closest(".input-button").hidden = at >= others));
    }
    for (const title of ASIDE) fieldTitled(title)?.classList.add("pairsmith-aside");
    const used = new Set();
    letters = {};
    for (const [name, row] of [["reasons", 0], ["edited", 1], ["best", 2]]) {
      const keys = [ROWS[row], ...ROWS].join("");
      for (const box of all("input[type=checkbox]", question(name) ?? document.createElement("p"))) {
        const letter = [...keys].find((key) => !used.has(key));
        const badge = box.closest(".input-button").querySelector(".key");
        if (badge && badge.textContent !== (letter ?? "")) badge.textContent = letter ?? "";
        if (letter) letters[letter] = box.id;
        used.add(letter);
      }
    }
    placeHouseStyle();
    document.body.classList.toggle("pairsmith-edit", chosen() === "edit" || texts().includes(document.activeElement));
  }

  // Answered rows leave the list of pending ones, so reloading its page 3 would skip two rows: go back to page 1.
  function reopenAtFirstPage() {
    const url = new URL(location);
    const isSkipping = !opened && url.searchParams.get("status") === "pending" && Number(url.searchParams.get("page")) > 1;
    opened = true;
    if (!isSkipping) return false;
    url.searchParams.set("page", 1);
    location.replace(url);
    return true;
  }

  // If a row is longer than the page, show the house style on the right instead; decided once per row and window size.
  function placeHouseStyle() {
    const style = fieldTitled("House style");
    const row = style?.querySelector(".content-area").id + innerWidth + "x" + innerHeight;
    if (!style || row === placed) return;
    placed = row;
    one(".pairsmith-style")?.remove();
    style.hidden = false;
    const [page, fields] = [one("section.wrapper__records"), one(".record .fields")].map((box) => box.getBoundingClientRect());
    if (fields.bottom <= page.bottom) return;
    const copy = style.cloneNode(true);
    copy.classList.add("pairsmith-style");
    one(".footer-form").after(copy);
    style.hidden = true;
  }

  function choose(verdict) {
    if (chosen() !== verdict) option(`verdict_${verdict}`).click();
    if (verdict === "accept") labels().forEach((box) => box.click()); // a letter pressed before it would relabel the row
  }

  // Handles a key press; returns whether the key is ours.
  function handleKey(event) {
    const key = event.key.toLowerCase();
    if (VERDICTS[key]) {
      choose(VERDICTS[key]);
      if (VERDICTS[key] === "edit") setTimeout(() => texts()[0]?.focus(), 50); // after Argilla has moved the focus
      return true;
    }
    if (!letters[key]) return key.length === 1 && key !== " " && question("reasons")?.contains(event.target);
    option(letters[key]).click();
    if (letters[key].startsWith("edited_")) choose("edit");
    return true;
  }

  const keyOf = (text) => one(".fields")?.innerText + text.closest("[aria-label^='Question: ']").getAttribute("aria-label");

  // Whether an edit of a pending row corrects nothing. Other rows show the annotator's own text.
  function isUnchanged() {
    if ((new URL(location).searchParams.get("status") ?? "pending") !== "pending") return false;
    const output = fieldTitled("Label")?.querySelector(".markdown-render").innerText.trim();
    if (labels().some((box) => box.id !== `edited_${output}`)) return false;
    return texts().every((text) => (originals.get(keyOf(text)) ?? text.innerText) === text.innerText);
  }

  // The warning for a contradictory answer; empty if there is no contradiction.
  function contradiction() {
    if (chosen() === "edit" && isUnchanged())
      return "You chose to edit the row but changed nothing, so it would wait for another answer. Change it, or press 1 to accept it as it is; Enter again submits it anyway.";
    if (chosen() !== "accept") return "";
    if (labels().length) return "You accept the row but also chose a label. Press Enter again to submit with that label, or 1 to keep the row's own.";
    if (!reasons().length) return "";
    return "You accept the row but also say what is wrong with it. Press Enter again to submit, 2 to reject or 3 to edit.";
  }

  // Whether submission must wait for confirmation; shows the warning if so.
  function needsConfirmation() {
    const message = contradiction();
    const answer = message && [chosen(), ...reasons(), ...labels().map((box) => box.id)].join();
    if (!answer || confirming === answer) return false;
    confirming = answer;
    showWarning(message);
    return true;
  }

  // Replaces the warning above the buttons; an empty message removes it.
  function showWarning(message) {
    one(".pairsmith-warning")?.remove();
    if (!message) return;
    const warning = Object.assign(document.createElement("p"), { className: "pairsmith-warning", textContent: message });
    warning.setAttribute("role", "alert");
    one(".footer-form").before(warning);
  }

  // Argilla shows the next row even if the server did not accept the answer, which would then be lost.
  const unsent = []; // answers that are not on the server yet
  let sending = false;
  const XHR = XMLHttpRequest.prototype;
  const { open, setRequestHeader, send } = XHR;
  XHR.open = function (method, url, ...more) {
    this.requested = { method, url: String(url), headers: {} };
    return open.call(this, method, url, ...more);
  };
  XHR.setRequestHeader = function (name, value) {
    this.requested.headers[name] = value;
    return setRequestHeader.call(this, name, value);
  };
  XHR.send = function (body) {
    if (body && isOurs() && /\/(records\/[^/]+\/responses|responses\/[^/]+)$/.test(this.requested.url)) {
      const answer = { ...this.requested, body };
      this.addEventListener("loadend", () => handleResult(answer, this.status));
    }
    return send.call(this, body);
  };
  const isUnavailable = (status) => status === 0 || status >= 500;

  // The message for a response of the server; empty if it accepted the answer.
  function refusalMessage(status) {
    if (status < 400) return "";
    if (status === 404) return "That row was withdrawn while it was open: it no longer needs an answer.";
    if (status === 409) return "You already answered that row in another window, and that answer is kept. Reload this page.";
    return `An answer was refused (${status}). Reload this page: the row will be shown again.`;
  }

  function handleResult(answer, status) {
    const older = unsent.findIndex((one) => one.url === answer.url);
    if (older >= 0) unsent.splice(older, 1);
    if (!isUnavailable(status)) return unsent.length || showStatus(refusalMessage(status));
    unsent.push(answer);
    if (!sending) resend();
  }

  async function resend() {
    sending = true;
    for (let last = ""; unsent.length; showStatus(last)) {
      const rows = unsent.length === 1 ? "One answer is" : `${unsent.length} answers are`;
      showStatus(`${rows} not saved yet, because the server is unavailable. Keep this page open: it keeps trying until everything is saved.`);
      await new Promise((resolve) => setTimeout(resolve, 2000));
      const [answer] = unsent;
      if (!answer) continue;
      const { method, url, headers, body } = answer;
      const status = await fetch(url, { method, headers, body }).then((response) => response.status, () => 0);
      const at = unsent.indexOf(answer);
      if (at >= 0) unsent.splice(at, 1);
      if (isUnavailable(status)) at >= 0 && unsent.push(answer); // to the end of the list: this answer may be the one that cannot be stored
      else if (status !== 409) last ||= refusalMessage(status); // 409: an earlier attempt had succeeded
    }
    sending = false;
  }

  addEventListener("beforeunload", (event) => unsent.length && event.preventDefault());

  // Shows a message that remains while rows change; an empty message removes it.
  function showStatus(message) {
    one(".pairsmith-status")?.remove();
    if (!message) return;
    const status = Object.assign(document.createElement("p"), { className: "pairsmith-status", textContent: message });
    status.setAttribute("role", "alert");
    document.body.append(status);
  }

  // While an answer is being sent, its row is still displayed: ignore keys that would change it without effect.
  const NAVIGATION = ["Enter", "Backspace", "ArrowLeft", "ArrowRight"];
  const ignoredWhileSending = (key) => (key.length === 1 || NAVIGATION.includes(key)) && one(".questions-form.--waiting");

  const stop = (event) => (event.preventDefault(), event.stopImmediatePropagation());

  addEventListener("keydown", (event) => {
    if (!isOurs()) return;
    if (!(event.ctrlKey || event.metaKey || event.altKey) && ignoredWhileSending(event.key)) return stop(event);
    if (isTextInput(event.target)) {
      const fields = texts();
      const next = event.key === "Tab" && fields[fields.indexOf(event.target) + (event.shiftKey ? -1 : 1)];
      if (next) stop(event), next.focus();
      return;
    }
    if (event.key === "Enter" && !event.shiftKey && needsConfirmation()) return stop(event);
    if (event.ctrlKey || event.metaKey || event.altKey || event.key === "Shift") return;
    if (event.key !== "Enter") showWarning("");
    if (handleKey(event)) stop(event);
  }, true);

  addEventListener("beforeinput", (event) => {
    if (!isOurs() || !texts().includes(event.target)) return;
    const key = keyOf(event.target);
    if (!originals.has(key)) originals.set(key, event.target.innerText);
    showWarning("");
  }, true);

  addEventListener("click", (event) => {
    if (isOurs() && event.target.closest?.(".button--submit") && needsConfirmation()) stop(event);
  }, true);

  let scheduled = 0;
  function scheduleDecorate() {
    scheduled ||= requestAnimationFrame(() => ((scheduled = 0), decorate()));
  }
  new MutationObserver((changes) => {
    if (changes.some((change) => change.addedNodes.length || change.removedNodes.length)) confirming = confirming && stillConfirming();
    scheduleDecorate();
  }).observe(document, { subtree: true, childList: true });
  for (const kind of ["change", "focusin", "focusout", "click", "keyup"]) addEventListener(kind, scheduleDecorate, true);

  // A new row has no verdict selected yet: remove the warning about the previous row.
  function stillConfirming() {
    if (isOurs() && chosen()) return confirming;
    showWarning("");
    return "";
  }
})();
