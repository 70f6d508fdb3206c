// The review page: one row at a time, by keys. The server keeps every verdict before it answers.

import { element, showEditor, showHelp, showItem, showReasons, showReport } from "./view.js";
import { REASONS, language, switchLanguage, word } from "./words.js";

const at = (id) => document.getElementById(id);
const given = (name) => document.querySelector(`meta[name=${name}]`).content;

const state = { item: null, shown: 0, busy: false, mode: "read", progress: null };
let token = given("token") || sessionStorage.getItem("winnow-token") || "";
let reviewer = given("reviewer") || localStorage.getItem("winnow-reviewer") || "";

async function call(name, said = {}) {
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
async function act(name, said, notice = "") {
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
    say(notice);
  } catch (error) {
    say(error instanceof TypeError ? word("offline") : error.message, true);
  } finally {
    state.busy = false;
  }
}

const seconds = () => (performance.now() - state.shown) / 1000;
const judge = (verdict, more = {}) =>
  act("say", { id: state.item.id, verdict, seconds: seconds(), ...more }, word("saved"));

const ACTS = {
  accept: () => state.item && judge("accept"),
  reject: () => state.item && openDialog("reasons", showReasons((reason) => {
    at("dialog").close();
    judge("reject", { reason });
  })),
  edit: () => state.item && openEditor(),
  skip: () => state.item && act("skip", { id: state.item.id }),
  undo: () => act("undo", {}, word("taken_back")),
};

function openEditor() {
  if (!state.item.editable) { say(word("not_editable")); return; }
  state.mode = "edit";
  const check = async (answer) => {
    try { return (await call("check", { id: state.item.id, answer })).reason; }
    catch (error) { return error.message; }
  };
  at("answer").replaceWith(showEditor(state.item, check, saveEdit, leaveEditor));
  at("editor").focus();
}

function saveEdit() {
  if (!at("save").disabled) judge("reject", { answer: at("editor").value });
}

function leaveEditor() {
  state.mode = "read";
  draw();
}

function openDialog(mode, content) {
  state.mode = mode;
  at("dialog").replaceChildren(...content,
    element("p", {}, element("button", { type: "button", text: word("close"),
      on: { click: () => at("dialog").close() } })));
  at("dialog").showModal();
}

at("dialog").addEventListener("close", () => { if (state.mode !== "edit") state.mode = "read"; });

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
  try { openDialog("report", showReport(await call("report"))); }
  catch (error) { say(error.message, true); }
}

function draw() {
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
    + (pace === null ? "" : ` · ${pace.toFixed(1)} ${word("median")}`);
  const nothing = element("p", { class: "nothing", text: state.progress ? word("nothing") : "" });
  at("item").replaceChildren(...(state.item ? showItem(state.item) : [nothing]));
  at("item").dataset.id = state.item?.id ?? "";
  scrollTo(0, 0);
}

function say(text, wrong = false) {
  at("notice").textContent = text;
  at("notice").hidden = !text;
  at("notice").className = wrong ? "refused" : "";
}

function turnLanguage() {
  switchLanguage();
  draw();
}

const KEYS = { a: ACTS.accept, r: ACTS.reject, e: ACTS.edit, u: ACTS.undo, " ": ACTS.skip,
  l: turnLanguage, "?": () => openDialog("help", showHelp()) };

// A button that was clicked shall not take the next key for itself.
document.addEventListener("click", (event) => {
  if (event.detail) event.target.closest("header button, footer button")?.blur();
}, true);

document.addEventListener("keydown", (event) => {
  if (state.mode === "edit") {
    if (event.key === "Escape") leaveEditor();
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) saveEdit();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const typing = event.target instanceof HTMLInputElement;
  if (event.key === " " && event.target instanceof HTMLButtonElement) return; // it presses that
  if (state.mode === "reasons" && !typing && REASONS[event.key - 1]) {
    event.preventDefault();
    at("dialog").close();
    judge("reject", { reason: REASONS[event.key - 1] });
  } else if (state.mode === "read" && !typing && KEYS[event.key]) {
    event.preventDefault();
    KEYS[event.key]();
  }
});

for (const one of at("actions").children) {
  one.addEventListener("click", () => { if (state.mode === "read") ACTS[one.dataset.act](); });
}
at("language").addEventListener("click", turnLanguage);
at("reviewer").addEventListener("click", askReviewer);
at("report").addEventListener("click", openReport);
at("help").addEventListener("click", KEYS["?"]);

function begin() {
  draw();
  if (!token) askToken();
  else if (!reviewer) askReviewer();
  else act("next");
}

begin();
