// How an item looks. All text from rows goes through textContent: nothing in it is ever markup.

import { REASONS, dimension, word } from "./words.js";

export function element(tag, options = {}, ...children) {
  const { text, on, ...attributes } = options;
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  for (const [name, listener] of Object.entries(on ?? {})) made.addEventListener(name, listener);
  if (text !== undefined) made.textContent = text;
  made.append(...children);
  return made;
}

export function showItem(item) {
  const answer = showAnswer(word("answer"), item.answer, item);
  answer.id = "answer";
  if (item.check) {
    answer.append(element("p", { class: "refused", text: `${word("refused")} ${item.check}` }));
  }
  return [
    element("p", { class: "why" }, element("b", { text: word(`why_${item.why}`) }), reason(item)),
    ...showTurns(item, [item.answer]),
    answer,
    ...(item.rivals.length ? [showRivals(item)] : []),
    facts("about", { id: item.id.slice(0, 12), ...item.about }),
    ...(Object.keys(item.scores).length ? [facts("scores", item.scores)] : []),
    ...(item.tools ? [element("details", {}, element("summary", { text: word("tools") }),
      element("pre", { text: item.tools }))] : []),
  ];
}

// All that was said before the answers; what a JSON answer took from it is marked.
export function showTurns(item, answers) {
  const found = item.json ? longestFirst(answers.flatMap(leaves)) : [];
  return item.turns.map((turn) => block(turn.role, word(turn.role), marked(turn.text, found, [])));
}

// An answer under a title; of a JSON one each value is marked, others where the question has them not.
export function showAnswer(title, answer, item) {
  const marks = item.json ? leaves(answer) : [];
  const said = item.turns.filter((turn) => turn.role === "user").map((turn) => turn.text).join("\n");
  const found = marks.filter((value) => said.includes(value));
  const strange = marks.filter((value) => !said.includes(value));
  return block("answer", title, marked(item.json ? pretty(answer) : answer, found, strange));
}

function reason(item) {
  const numbers = item.threshold === null ? "" : ` (${short(item.value)})`;
  return element("span", { text: item.detail ? ` ${item.detail}${numbers}` : "" });
}

function block(role, title, content) {
  return element("section", { class: `turn ${role}` },
    element("h2", { text: title }), element("pre", {}, ...content));
}

function showRivals(item) {
  const lines = item.rivals.map((rival) => element("li", {},
    element("pre", { text: item.json ? pretty(rival.answer) : rival.answer }),
    element("small", { text: `${rival.source} ${rival.id.slice(0, 12)}` })));
  return element("section", { class: "rivals" },
    element("h2", { text: word("rivals") }), element("ul", {}, ...lines));
}

function facts(title, values) {
  const cells = Object.entries(values).flatMap(([name, value]) =>
    [element("dt", { text: name }), element("dd", { text: short(value) })]);
  return element("details", { ...(title === "about" ? {} : { open: "" }) },
    element("summary", { text: word(title) }), element("dl", {}, ...cells));
}

// The values of a JSON answer, longest first, so that the longer of two is marked.
export function leaves(answer) {
  const found = new Set();
  const walk = (value) => {
    if (value && typeof value === "object") Object.values(value).forEach(walk);
    else if (value !== null && String(value).trim()) found.add(String(value));
  };
  try { walk(JSON.parse(answer)); } catch { return []; }
  return longestFirst(found);
}

const longestFirst = (values) => [...values].sort((one, other) => other.length - one.length);

// Text as nodes: `found` values, which question and answer share, and `strange` ones are marked.
function marked(text, found, strange) {
  const nodes = [];
  let rest = text, plain = "";
  while (rest) {
    const value = [...found, ...strange].find((one) => rest.startsWith(one) && whole(text, rest, one));
    if (!value) { plain += rest[0]; rest = rest.slice(1); continue; }
    if (plain) nodes.push(plain);
    const title = strange.includes(value) ? { class: "strange", title: word("not_in_question") } : {};
    nodes.push(element("mark", { text: value, ...title }));
    plain = "";
    rest = rest.slice(value.length);
  }
  return plain ? [...nodes, plain] : nodes;
}

// Whether a value does not begin or end inside a word or a number: 2 is not marked in 26.
function whole(text, rest, value) {
  const start = text.length - rest.length;
  const inside = (one, other) => /[A-Za-z0-9]{2}/.test(one + other);
  const before = text[start - 1] ?? "", after = text[start + value.length] ?? "";
  return !inside(before, value[0]) && !inside(value.at(-1), after);
}

export function pretty(answer) {
  try { return JSON.stringify(JSON.parse(answer), null, 2); } catch { return answer; }
}

export function showEditor(item, check, save, leave) {
  const field = element("textarea", { id: "editor", rows: 10, spellcheck: "false",
    "aria-label": word("answer"), "aria-describedby": "verdict" });
  const verdict = element("p", { id: "verdict", role: "status" });
  const button = element("button", { id: "save", type: "button", text: word("save"),
    on: { click: save } });
  field.value = item.json ? pretty(item.answer) : item.answer;
  let asked = 0;
  const look = async () => {
    const turn = ++asked;
    const refused = await check(field.value);
    if (turn !== asked) return;
    verdict.textContent = refused ? `${word("refused")} ${refused}` : word("fits");
    verdict.className = refused ? "refused" : "fits";
    button.disabled = Boolean(refused);
  };
  let timer = 0;
  field.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(look, 150); });
  look();
  return element("section", { class: "editor" }, field, verdict, element("p", {}, button,
    element("button", { type: "button", text: word("cancel"), on: { click: leave } })));
}

export function showReasons(give) {
  const own = element("input", { id: "own", "aria-label": word("own_reason"),
    placeholder: word("own_reason"), on: { keydown: (event) => {
      if (event.key === "Enter" && own.value.trim()) give(own.value.trim());
    } } });
  const buttons = REASONS.map((name, number) => element("button",
    { type: "button", on: { click: () => give(name) } },
    element("kbd", { text: number + 1 }), ` ${word(name)}`));
  return [element("h2", { text: word("reason_title") }),
    element("div", { class: "reasons" }, ...buttons), own];
}

export function showReport({ agreement, samples }) {
  const lines = samples.map((line) => [line.group,
    line.state === "more" ? `${word("more")} ${line.needed}` : word(line.state),
    `${line.good}/${line.looked}`,
    line.state === "passed" ? `${word("confidence")} ${short(line.confidence)}` : ""]);
  return [...showAgreement(agreement), element("h2", { text: word("samples") }), table(lines)];
}

export function showAgreement(agreement) {
  const figure = (name) => [word(name), short(agreement[name])];
  const pairs = agreement.pairs.map((pair) => [pair.reviewers.join(" · "), short(pair.cohen),
    `${pair.agreed}/${pair.rows}`]);
  const gold = agreement.gold.map((line) => [line.by, "", `${line.right}/${line.rows}`]);
  return [
    element("h2", { text: word("agreement") }),
    table([figure("krippendorff"), figure("fleiss"), [word("rows"), agreement.rows]]),
    ...(pairs.length ? [element("h3", { text: word("pairs") }), table(pairs)] : []),
    ...(gold.length ? [element("h3", { text: word("gold") }), table(gold)] : []),
  ];
}

export function showMarks({ dimensions }) {
  const lines = dimensions.map((line) => [dimension(line.dimension), short(line.alpha), line.questions]);
  return [element("h2", { text: word("agreement") }),
    element("p", { text: word("ordinal") }), table(lines)];
}

function table(lines) {
  return element("table", {}, ...lines.map((line) =>
    element("tr", {}, ...line.map((cell) => element("td", { text: cell })))));
}

function short(value) {
  if (value === null || value === undefined) return "–";
  return typeof value === "number" && !Number.isInteger(value) ? value.toPrecision(3) : String(value);
}
