// What our server adds to Argilla's page, on queues that pairsmith made and nowhere else: every key means one thing
// wherever the keyboard is, an answer that contradicts itself is asked for again, and one that the server could not take
// is sent until it is there. Argilla's own keys go on working.
(() => {
  const VERDICTS = { 1: "accept", 2: "reject", 3: "edit" };
  const ROWS = ["qwertyuiop", "asdfghjkl", "zxcvbnm"]; // a question a row of the keyboard
  addEventListener("resize", () => soon());
  const ASIDE = ["What the programs found", "House style", "Other outputs for this input"];
  const one = (selector) => document.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const option = (id) => document.getElementById(id);
  const ours = () => Object.values(VERDICTS).every((verdict) => option(`verdict_${verdict}`));
  const question = (name) => one(`[aria-label='Question: ${name}']`);
  const nameOf = (asked) => asked.getAttribute("aria-label").replace("Question: ", "");
  const chosen = () => Object.values(VERDICTS).find((verdict) => option(`verdict_${verdict}`).checked);
  const reasons = () => all("[id^='reasons_']:checked").map((box) => box.id);
  const texts = () => all("[aria-label^='Question: edited'] [contenteditable]");
  const writing = (target) =>
    target.isContentEditable || (target.matches("input, textarea") && !target.matches("[type=checkbox]"));

  let opened = false; // a row of ours has been on this page
  let letters = {}; // letter -> the id of the choice
  let moved = ""; // the row for which the house style's place was chosen
  let asked = ""; // the contradiction that was told; the same answer sent again is meant

  function fieldTitled(title) {
    return all(".fields .title-area").find((head) => head.innerText.trim() === title)?.parentElement;
  }

  // The choices that the row shown does not have are not offered, and each of the others gets its letter.
  function dress() {
    document.body.classList.toggle("pairsmith", ours());
    if (!ours() || fromTheFirst()) return;
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
    move();
    document.body.classList.toggle("pairsmith-edit", chosen() === "edit" || texts().includes(document.activeElement));
  }

  // Rows that were answered leave those that wait, so that page 3 of them, opened anew, would pass over two.
  function fromTheFirst() {
    const at = new URL(location);
    const anew = !opened && at.searchParams.get("status") === "pending" && Number(at.searchParams.get("page")) > 1;
    opened = true;
    if (!anew) return false;
    at.searchParams.set("page", 1);
    location.replace(at);
    return true;
  }

  // Where a row is longer than the page the house style moves to the other side; looked at once a row.
  function move() {
    const style = fieldTitled("House style");
    const row = style?.querySelector(".content-area").id + innerWidth + "x" + innerHeight;
    if (!style || row === moved) return;
    moved = row;
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
  }

  function act(event) {
    const key = event.key.toLowerCase();
    if (VERDICTS[key]) {
      choose(VERDICTS[key]);
      if (VERDICTS[key] === "edit") setTimeout(() => texts()[0]?.focus(), 50); // after Argilla moved the focus
      return true;
    }
    if (!letters[key]) return key.length === 1 && key !== " " && question("reasons")?.contains(event.target);
    option(letters[key]).click();
    if (letters[key].startsWith("edited_")) choose("edit");
    return true;
  }

  // The sentence that a contradictory answer gets, once.
  function contradiction() {
    if (chosen() !== "accept" || !reasons().length) return "";
    return "You accept it and say what is wrong with it. Enter again sends it so; 2 rejects, 3 edits.";
  }

  function held() {
    const sentence = contradiction();
    const answer = sentence && [chosen(), ...reasons()].join();
    if (!answer || asked === answer) return false;
    asked = answer;
    tell(sentence);
    return true;
  }

  function tell(sentence) {
    one(".pairsmith-told")?.remove();
    if (!sentence) return;
    const told = Object.assign(document.createElement("p"), { className: "pairsmith-told", textContent: sentence });
    told.setAttribute("role", "alert");
    one(".footer-form").before(told);
  }

  // Argilla goes on to the next row even if the server did not take the answer, which then was lost.
  const late = []; // answers that are not on the server yet
  let sending = false;
  const XHR = XMLHttpRequest.prototype;
  const { open, setRequestHeader, send } = XHR;
  XHR.open = function (method, url, ...more) {
    this.asked = { method, url: String(url), headers: {} };
    return open.call(this, method, url, ...more);
  };
  XHR.setRequestHeader = function (name, value) {
    this.asked.headers[name] = value;
    return setRequestHeader.call(this, name, value);
  };
  XHR.send = function (body) {
    if (body && ours() && /\/(records\/[^/]+\/responses|responses\/[^/]+)$/.test(this.asked.url)) {
      const answer = { ...this.asked, body };
      this.addEventListener("loadend", () => sent(answer, this.status));
    }
    return send.call(this, body);
  };
  const away = (status) => status === 0 || status >= 500;

  // What to say of an answer that the server has looked at.
  function refused(status) {
    if (status < 400) return "";
    if (status === 404) return "That row was taken back while it was open: nobody needs an answer to it any more.";
    if (status === 409) return "You have answered that row before, in another window: that answer stands. Reload this page.";
    return `An answer was refused (${status}). Reload this page: its row comes again.`;
  }

  function sent(answer, status) {
    const older = late.findIndex((one) => one.url === answer.url);
    if (older >= 0) late.splice(older, 1);
    if (!away(status)) return late.length || say(refused(status));
    late.push(answer);
    if (!sending) sendAgain();
  }

  async function sendAgain() {
    sending = true;
    for (let last = ""; late.length; say(last)) {
      const rows = late.length === 1 ? "One answer is" : `${late.length} answers are`;
      say(`${rows} not on the server yet, which does not take any now. Leave this page open: they are sent until they are there.`);
      await new Promise((later) => setTimeout(later, 2000));
      const [answer] = late;
      if (!answer) continue;
      const { method, url, headers, body } = answer;
      const status = await fetch(url, { method, headers, body }).then((answered) => answered.status, () => 0);
      const at = late.indexOf(answer);
      if (at >= 0) late.splice(at, 1);
      if (away(status)) at >= 0 && late.push(answer); // behind the others: it may be the one that cannot be taken
      else if (status !== 409) last ||= refused(status); // 409: the server had taken it after all
    }
    sending = false;
  }

  addEventListener("beforeunload", (event) => late.length && event.preventDefault());

  // A sentence that stays, whatever row is shown.
  function say(sentence) {
    one(".pairsmith-said")?.remove();
    if (!sentence) return;
    const said = Object.assign(document.createElement("p"), { className: "pairsmith-said", textContent: sentence });
    said.setAttribute("role", "alert");
    document.body.append(said);
  }

  // While an answer is on its way the row that is still shown has been answered: a key would change what nobody sends.
  const ON = ["Enter", "Backspace", "ArrowLeft", "ArrowRight"];
  const onItsWay = (key) => (key.length === 1 || ON.includes(key)) && one(".questions-form.--waiting");

  const stop = (event) => (event.preventDefault(), event.stopImmediatePropagation());

  addEventListener("keydown", (event) => {
    if (!ours()) return;
    if (!(event.ctrlKey || event.metaKey || event.altKey) && onItsWay(event.key)) return stop(event);
    if (writing(event.target)) {
      const fields = texts();
      const next = event.key === "Tab" && fields[fields.indexOf(event.target) + (event.shiftKey ? -1 : 1)];
      if (next) stop(event), next.focus();
      return;
    }
    if (event.key === "Enter" && !event.shiftKey && held()) return stop(event);
    if (event.ctrlKey || event.metaKey || event.altKey || event.key === "Shift") return;
    if (event.key !== "Enter") tell("");
    if (act(event)) stop(event);
  }, true);

  addEventListener("click", (event) => {
    if (ours() && event.target.closest?.(".button--submit") && held()) stop(event);
  }, true);

  let waiting = 0;
  function soon() {
    waiting ||= requestAnimationFrame(() => ((waiting = 0), dress()));
  }
  new MutationObserver((changes) => {
    if (changes.some((change) => change.addedNodes.length || change.removedNodes.length)) asked = asked && chosenStill();
    soon();
  }).observe(document, { subtree: true, childList: true });
  for (const kind of ["change", "focusin", "focusout", "click", "keyup"]) addEventListener(kind, soon, true);

  // Another row begins with nothing chosen: what was told about the last one is no longer about it.
  function chosenStill() {
    if (ours() && chosen()) return asked;
    tell("");
    return "";
  }
})();
