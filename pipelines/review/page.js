// The page of rows: each is accepted, rejected with a reason, or set right.

import { at, call, draw, judge, openDialog, say, start, state } from "./frame.js";
import { showEditor, showItem, showReasons, showReport } from "./view.js";
import { REASONS, word } from "./words.js";

const ACTS = {
  accept: () => state.item && judge("say", { verdict: "accept" }),
  reject: () => state.item && openDialog("reasons", showReasons((reason) => {
    at("dialog").close();
    judge("say", { verdict: "reject", reason });
  })),
  edit: () => state.item && openEditor(),
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
  if (!at("save").disabled) judge("say", { verdict: "reject", answer: at("editor").value });
}

function leaveEditor() {
  state.mode = "read";
  draw();
}

// While a row is edited all keys are its own; of the reasons each has a number.
function typed(event) {
  if (state.mode === "edit") {
    if (event.key === "Escape") leaveEditor();
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) saveEdit();
    return true;
  }
  const asked = state.mode === "reasons" && at("dialog").open;
  const typing = event.target instanceof HTMLInputElement;
  const plain = !event.ctrlKey && !event.metaKey && !event.altKey && !event.repeat;
  if (!asked || typing || !plain || !REASONS[event.key - 1]) return false;
  event.preventDefault();
  at("dialog").close();
  judge("say", { verdict: "reject", reason: REASONS[event.key - 1] });
  return true;
}

start({
  acts: ACTS,
  buttons: [["accept", "a", "a"], ["reject", "r", "r"], ["edit", "e", "e"], ["skip", "␣", " "],
    ["undo", "u", "u"]],
  show: showItem,
  report: showReport,
  help: "keys",
  typed,
});
