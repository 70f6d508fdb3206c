// What every page of a desk shares: one item at a time, by keys, and calls that keep what was said.

import { element } from "./view.js";
import { language, switchLanguage, word } from "./words.js";

export const at = (id) => document.getElementById(id);
const given = (name) => document.querySelector(`meta[name=${name}]`).content;

export const state = { item: null, shown: 0, busy: false, mode: "read", progress: null };
let token = given("token") || sessionStorage.getItem("winnow-token") || "";
let reviewer = given("reviewer") || localStorage.getItem("winnow-reviewer") || "";
let page = null;

export async function call(name, said = {}) {
  const answer = await fetch(`api/${name}`, {
    method: "POST",
    headers: { "content-type": "application/json", "x-winnow-token": token },
    body: JSON.stringify({ reviewer, ...said }),
  });
  const told = await answer.json();
  if (answer.status === 401) { askToken(); throw new Error(told.error); }
  if (!answer.ok) throw new Error(told.error);
  return told;
}

// One thing at a time: a second key while the first verdict is being kept is not obeyed.
export async function act(name, said, notice = "") {
  if (state.busy) return;
  state.busy = true;
  try {
    const told = await call(name, said);
    if (name === "undo" && !told.item) { say(word("no_undo")); return; }
    state.item = told.item;
    state.progress = told.progress;
    state.shown = performance.now();
    state.mode = "read";
    draw();
    scrollTo(0, 0);
    say(notice);
  } catch (error) {
    say(error instanceof TypeError ? word("offline") : error.message, true);
  } finally {
    state.busy = false;
  }
}

// Say something of the item that is shown, with the seconds that it took.
export const judge = (name, said) => act(name,
  { id: state.item.id, seconds: (performance.now() - state.shown) / 1000, ...said }, word("saved"));

// Whether keys and buttons are for the item: the event that says a dialog was closed comes later.
export const reading = () => state.mode !== "edit" && !at("dialog").open;

export function openDialog(mode, content) {
  state.mode = mode;
  at("dialog").replaceChildren(...content,
    element("p", {}, element("button", { type: "button", text: word("close"),
      on: { click: () => at("dialog").close() } })));
  at("dialog").showModal();
}

function askText(title, hint, type, take) {
  const field = element("input", { type, "aria-label": title, autocomplete: "off", maxlength: 200,
    on: { keydown: (event) => {
      if (event.key !== "Enter" || !field.value.trim()) return;
      event.preventDefault();
      at("dialog").close();
      take(field.value.trim());
    } } });
  openDialog("ask", [element("h2", { text: title }), element("p", { text: hint }), field]);
  field.focus();
}

function askToken() {
  askText(word("token_title"), word("token_hint"), "password", (value) => {
    token = value;
    sessionStorage.setItem("winnow-token", token);
    begin();
  });
}

function askReviewer() {
  askText(word("name_title"), word("name_hint"), "text", (value) => {
    reviewer = value;
    localStorage.setItem("winnow-reviewer", reviewer);
    act("next");
  });
}

async function openReport() {
  try { openDialog("report", page.report(await call("report"))); }
  catch (error) { say(error.message, true); }
}

function openHelp() {
  const lines = word(page.help).flatMap(([key, text]) =>
    [element("dt", {}, element("kbd", { text: key })), element("dd", { text })]);
  openDialog("help", [element("h2", { text: word("help") }), element("dl", {}, ...lines)]);
}

export function draw() {
  document.documentElement.lang = language;
  for (const one of document.querySelectorAll("[data-word]")) one.textContent = word(one.dataset.word);
  at("language").textContent = word("other");
  at("reviewer").textContent = reviewer || "–";
  for (const one of at("actions").children) {
    one.disabled = !state.item && one.dataset.act !== "undo";
  }
  const { done = 0, left = 0, median_s: pace = null } = state.progress ?? {};
  at("bar").max = Math.max(1, done + left);
  at("bar").value = done;
  at("pace").textContent = `${done} ${word("done")} · ${left} ${word("left")}`
    + (pace === null ? "" : ` · ${pace.toFixed(1)} ${word("median")}`
      + ` · ${Math.ceil((left * pace) / 60)} ${word("minutes")}`);
  const nothing = element("p", { class: "nothing", text: state.progress ? word("nothing") : "" });
  at("item").replaceChildren(...(state.item ? page.show(state.item) : [nothing]));
  at("item").dataset.id = state.item?.id ?? "";
}

export function say(text, wrong = false) {
  at("notice").textContent = text;
  at("notice").hidden = !text;
  at("notice").className = wrong ? "refused" : "";
}

function turnLanguage() {
  switchLanguage();
  draw();
}

const SHARED = {
  skip: () => state.item && act("skip", { id: state.item.id }),
  undo: () => act("undo", {}, word("taken_back")),
};

// A button of the page's bottom: the key that does the same, as it is written on it.
function button([name, key]) {
  return element("button", { type: "button", "data-act": name },
    element("kbd", { text: key }), " ", element("span", { "data-word": name }));
}

// Show a page. `acts` are its own by name and `buttons` which of them, or of the shared ones, stand
// below with which key; `show` and `report` make its nodes, `help` is the word of its list of keys.
// `keys` are more keys and what they do, and `typed` sees every key first: true for "taken".
export function start({ acts, buttons, keys = {}, show, report, help, typed = () => false }) {
  page = { show, report, help };
  const every = { ...acts, ...SHARED };
  const known = { ...keys, l: turnLanguage, "?": openHelp };
  for (const [name, , key] of buttons) known[key] = every[name];
  at("actions").replaceChildren(...buttons.map(button));

  // A button that was clicked shall not take the next key for itself.
  document.addEventListener("click", (event) => {
    if (event.detail) event.target.closest("header button, footer button")?.blur();
  }, true);

  document.addEventListener("keydown", (event) => {
    if (typed(event)) return;
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    const typing = event.target instanceof HTMLInputElement;
    if (event.key === " " && event.target instanceof HTMLButtonElement) return; // it presses that
    if (reading() && !typing && known[event.key]) {
      event.preventDefault();
      known[event.key]();
    }
  });

  for (const one of at("actions").children) {
    one.addEventListener("click", () => { if (reading()) every[one.dataset.act](); });
  }
  at("dialog").addEventListener("close", () => { if (state.mode !== "edit") state.mode = "read"; });
  at("language").addEventListener("click", turnLanguage);
  at("reviewer").addEventListener("click", askReviewer);
  at("report").addEventListener("click", openReport);
  at("help").addEventListener("click", openHelp);
  begin();
}

function begin() {
  draw();
  if (!token) askToken();
  else if (!reviewer) askReviewer();
  else act("next");
}
