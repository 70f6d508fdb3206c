// The page of answers: which of two is better, or how good one is. It never learns which model's
// an answer is, and so cannot tell.

import { at, draw, judge, reading, say, start, state } from "./frame.js";
import { showPair, showRating } from "./sides.js";
import { showAgreement, showMarks } from "./view.js";
import { word } from "./words.js";

let marks = {}, place = 0, rated = "", comment = "";

const choose = (choice) => () => state.item?.kind === "pair" && judge("choose", { choice });

const ACTS = {
  a_better: choose("left"),
  b_better: choose("right"),
  both_good: choose("both_good"),
  both_bad: choose("both_bad"),
  comment: () => at("comment")?.focus(),
  save: saveMarks,
};

function saveMarks() {
  if (state.item?.kind !== "rating") return;
  if (state.item.dimensions.some((name) => !marks[name])) { say(word("unmarked"), true); return; }
  judge("rate", { marks, comment });
}

// Mark the dimension that is asked, and ask the next one.
function mark(name, value) {
  marks[name] = value;
  place = Math.min(state.item.dimensions.indexOf(name) + 1, state.item.dimensions.length - 1);
  draw();
  say("");
}

function move(step) {
  if (state.item?.kind !== "rating") return;
  place = Math.max(0, Math.min(place + step, state.item.dimensions.length - 1));
  draw();
}

function show(item) {
  if (item.kind === "pair") return showPair(item);
  if (item.id !== rated) [marks, place, rated, comment] = [{}, 0, item.id, ""];
  return showRating(item, { marks, place, comment, mark, write: (text) => { comment = text; } });
}

// Digits are marks; in the comment all keys are its own.
function typed(event) {
  if (event.target instanceof HTMLTextAreaElement) {
    if (event.key === "Escape") event.target.blur();
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) saveMarks();
    return true;
  }
  const plain = !event.ctrlKey && !event.metaKey && !event.altKey && !event.repeat;
  if (!reading() || state.item?.kind !== "rating" || !plain) return false;
  if (!/^[1-5]$/.test(event.key)) return false;
  mark(state.item.dimensions[place], Number(event.key));
  return true;
}

const PAIR = [["a_better", "←", "ArrowLeft"], ["b_better", "→", "ArrowRight"],
  ["both_good", "g", "g"], ["both_bad", "b", "b"]];
const RATING = [["save", "⏎", "Enter"], ["comment", "c", "c"]];
const pair = document.querySelector("meta[name=kind]").content === "pair";

start({
  acts: ACTS,
  buttons: [...(pair ? PAIR : RATING), ["skip", "␣", " "], ["undo", "u", "u"]],
  keys: pair ? {} : { ArrowUp: () => move(-1), ArrowDown: () => move(1) },
  show,
  report: ({ agreement }) => (agreement.dimensions ? showMarks(agreement) : showAgreement(agreement)),
  help: pair ? "keys_pair" : "keys_rating",
  typed,
});
