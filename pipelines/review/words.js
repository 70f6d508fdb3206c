// What the page says, in English and Chinese; a reason is stored under its name, in no language.

export const REASONS = ["wrong_answer", "off_topic", "made_up", "unsafe", "bad_form"];

const EN = {
  accept: "accept", reject: "reject", edit: "edit", skip: "skip", undo: "undo", save: "save",
  cancel: "cancel", close: "close", help: "help", report: "report", other: "中文",
  wrong_answer: "wrong answer", off_topic: "answers something else", made_up: "made up",
  unsafe: "harmful or private", bad_form: "badly written", own_reason: "another reason, in words",
  why_label_conflict: "the same question has other answers", why_tie: "reviewers disagree",
  why_new_type: "made for a new kind of error", why_borderline: "near a threshold",
  why_random: "drawn at random", why_undone: "taken back",
  system: "system", user: "user", assistant: "assistant", tool: "tool", tools: "tools",
  answer: "answer", rivals: "other answers", scores: "scores", about: "about",
  not_in_question: "not in the question word for word", refused: "The task refuses it:",
  fits: "The task accepts it.", saved: "saved", nothing: "Nothing waits for you.",
  name_title: "Who are you?", name_hint: "Your verdicts are kept under this name.",
  token_title: "Token", token_hint: "The value of WINNOW_REVIEW_TOKEN where this page is served.",
  reason_title: "Why?", done: "done", left: "left", median: "s each", taken_back: "taken back",
  no_undo: "There is nothing to take back.", not_editable: "This answer calls a tool.",
  agreement: "Agreement", samples: "Samples", rows: "rows", pairs: "Two by two (Cohen)",
  gold: "Known rows answered right", krippendorff: "Krippendorff's alpha", fleiss: "Fleiss' kappa",
  passed: "passed", failed: "failed", more: "more needed", confidence: "confidence",
  offline: "The server does not answer; your verdict was not taken.",
  minutes: "min to go", which: "Which answer is better?", how_good: "How good is this answer?",
  a_better: "A is better", b_better: "B is better", both_good: "both good", both_bad: "both bad",
  expected: "expected answer", comment: "comment", unmarked: "Not every line has a mark yet.",
  ordinal: "Krippendorff's alpha of ordered marks, and the answers that two or more rated",
  dim_correctness: "correctness", dim_completeness: "completeness", dim_format: "format",
  dim_fluency: "fluency", dim_safety: "safety",
  keys_pair: [["←", "A is better"], ["→", "B is better"], ["g", "both are good"],
    ["b", "both are bad"], ["u", "take the last one back"], ["space", "skip"], ["l", "中文"],
    ["?", "this list"]],
  keys_rating: [["1–5", "a mark for the line that is lit, 5 being best"], ["↑ ↓", "another line"],
    ["c", "a comment; Esc leaves it"], ["Enter", "save"], ["u", "take the last one back"],
    ["space", "skip"], ["l", "中文"], ["?", "this list"]],
  keys: [["a", "accept"], ["r", "reject, then 1 to 5 or a reason in words"],
    ["e", "edit the answer; Ctrl+Enter saves, Esc leaves"], ["u", "take the last verdict back"],
    ["space", "skip"], ["l", "中文"], ["?", "this list"]],
};

const ZH = {
  accept: "通过", reject: "拒绝", edit: "修改", skip: "跳过", undo: "撤销", save: "保存",
  cancel: "取消", close: "关闭", help: "帮助", report: "统计", other: "English",
  wrong_answer: "答案错误", off_topic: "答非所问", made_up: "凭空捏造",
  unsafe: "有害或含隐私", bad_form: "表达或格式差", own_reason: "其他理由（请写明）",
  why_label_conflict: "同一问题有不同答案", why_tie: "审阅者意见不一",
  why_new_type: "针对新错误类型生成", why_borderline: "接近阈值",
  why_random: "随机抽取", why_undone: "已撤销",
  system: "系统", user: "用户", assistant: "助手", tool: "工具", tools: "可用工具",
  answer: "答案", rivals: "其他答案", scores: "分数", about: "来历",
  not_in_question: "问题中没有的原文", refused: "任务不接受：",
  fits: "任务接受。", saved: "已保存", nothing: "没有等待你审阅的数据。",
  name_title: "你是谁？", name_hint: "你的判断以此名保存。",
  token_title: "令牌", token_hint: "本页服务器上 WINNOW_REVIEW_TOKEN 的值。",
  reason_title: "为什么？", done: "已审", left: "剩余", median: "秒/条", taken_back: "已撤销",
  no_undo: "没有可撤销的判断。", not_editable: "此答案是工具调用。",
  agreement: "一致性", samples: "抽样验收", rows: "条", pairs: "两两一致（Cohen）",
  gold: "已知答案判对", krippendorff: "Krippendorff α", fleiss: "Fleiss κ",
  passed: "通过", failed: "未通过", more: "还需", confidence: "置信度",
  offline: "服务器没有响应，你的判断没有保存。",
  minutes: "分钟", which: "哪个答案更好？", how_good: "这个答案有多好？",
  a_better: "A 更好", b_better: "B 更好", both_good: "都好", both_bad: "都不好",
  expected: "参考答案", comment: "备注", unmarked: "还有未打分的项。",
  ordinal: "有序评分的 Krippendorff α，以及两人以上评过的答案数",
  dim_correctness: "正确性", dim_completeness: "完整性", dim_format: "格式",
  dim_fluency: "流畅度", dim_safety: "安全性",
  keys_pair: [["←", "A 更好"], ["→", "B 更好"], ["g", "都好"], ["b", "都不好"],
    ["u", "撤销上一条"], ["空格", "跳过"], ["l", "English"], ["?", "本列表"]],
  keys_rating: [["1–5", "给高亮的一项打分，5 为最好"], ["↑ ↓", "换一项"],
    ["c", "写备注；Esc 离开"], ["Enter", "保存"], ["u", "撤销上一条"], ["空格", "跳过"],
    ["l", "English"], ["?", "本列表"]],
  keys: [["a", "通过"], ["r", "拒绝，再按 1 到 5 或写明理由"],
    ["e", "修改答案；Ctrl+Enter 保存，Esc 放弃"], ["u", "撤销上一条判断"],
    ["空格", "跳过"], ["l", "English"], ["?", "本列表"]],
};

const asked = new URLSearchParams(location.search).get("lang");
const known = asked || localStorage.getItem("winnow-lang") || navigator.language;
export let language = known.toLowerCase().startsWith("zh") ? "zh" : "en";
if (asked) localStorage.setItem("winnow-lang", language);

export function switchLanguage() {
  language = language === "zh" ? "en" : "zh";
  localStorage.setItem("winnow-lang", language);
  history.replaceState(null, "", location.pathname); // an address that asks for a language is met
}

export function word(name) {
  return (language === "zh" ? ZH : EN)[name] ?? name;
}

// A dimension in words; one that a recipe names is shown as it stands there.
export function dimension(name) {
  const key = `dim_${name}`, said = word(key);
  return said === key ? name : said;
}
