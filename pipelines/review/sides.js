// How answers of models look: two side by side, or one with a mark for each dimension.

import { element, showAnswer, showTurns } from "./view.js";
import { dimension, word } from "./words.js";

const BEST = 5;

export function showPair(item) {
  const [left, right] = item.answers;
  return [
    element("p", { class: "why" }, element("b", { text: word("which") })),
    ...showTurns(item, item.answers),
    element("div", { class: "sides" }, showAnswer("A", left, item), showAnswer("B", right, item)),
    ...showGold(item),
  ];
}

// `marks` are those so far, `place` the dimension that is asked; `mark` and `write` take more.
export function showRating(item, { marks, place, comment, mark, write }) {
  const [answer] = item.answers;
  const field = element("textarea", { id: "comment", rows: 2, "aria-label": word("comment"),
    placeholder: word("comment"), maxlength: 2000 });
  field.value = comment;
  field.addEventListener("input", () => write(field.value));
  return [
    element("p", { class: "why" }, element("b", { text: word("how_good") })),
    ...showTurns(item, item.answers),
    showAnswer(word("answer"), answer, item),
    ...showGold(item),
    element("section", { class: "turn marks" }, ...item.dimensions.map((name, at) =>
      showScale(name, marks[name], at === place, (value) => mark(name, value)))),
    field,
  ];
}

function showScale(name, given, asked, give) {
  const buttons = Array.from({ length: BEST }, (_, at) => element("button", {
    type: "button", text: at + 1, "aria-pressed": String(at + 1 === given),
    "aria-label": `${dimension(name)} ${at + 1}`, on: { click: () => give(at + 1) } }));
  return element("div", { class: asked ? "scale asked" : "scale", role: "group",
    "aria-label": dimension(name) }, element("span", { text: dimension(name) }), ...buttons);
}

function showGold(item) {
  return item.gold ? [showAnswer(word("expected"), item.gold, item)] : [];
}
