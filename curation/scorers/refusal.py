"""Refusals: whether an answer is the boilerplate of an assistant that declines or apologises.

Such answers come from other models, and teach to decline what the product should do. An answer
that refuses for a reason of the product reads differently and is not meant.
"""

import re

import polars as pl

from curation.plugins import plugin
from curation.rows import ANSWER
from curation.scorers._base import ScoreContext, Scorer
from curation.scorers._screen import score_where


def _any(*words: str) -> str:
    return f"(?:{'|'.join(words)})"


_ZH_MODEL = _any("AI", "人工智能", "大?语言模型", "大模型")
_ZH_SELF = rf"(?:作为|身为|我只?是)[^，。！？\n]{{0,8}}{_ZH_MODEL}[^，。！？\n]{{0,12}}[，,。]"
_ZH_SORRY = _any("抱歉", "对不起", "不好意思", "遗憾")
_ZH_CANNOT = (
    "我?(?:还|暂时|目前|现在)?"
    + _any("无法", "不能", "没有办法", "没办法", "不便", "不会")
    + "(?:[为给][您你]|直接|够)?"
)
_ZH_DO = _any(
    *(
        "提供",
        "回答",
        "完成",
        "执行",
        "协助",
        "帮助",
        "帮忙",
        "满足",
        "处理",
        "生成",
        "访问",
        "浏览",
    ),
    *("查看", "获取", "给出", "做到", "讨论", "参与"),
)
_ZH_WHAT = _any("请求", "问题", "内容", "信息", "服务", "帮助", "要求")
_EN_SELF = (
    rf"\bas an? {_any('ai', 'artificial intelligence', '(?:large )?language')}\b[^.\n]{{0,40}}?[,.]"
)
_EN_SORRY = _any(r"\bsorry\b", r"\bi apologi[sz]e\b", r"\bunfortunately\b")
_EN_NOT = _any("can(?:no|')?t", "can not", "(?:am|'m) (?:not able|unable) to", "won't", "will not")
_EN_CANNOT = rf"\bi ?{_EN_NOT}"
_EN_DO = _any(
    *("help", "assist", "provide", "answer", "fulfil+", "comply", "complete", "do that", "access"),
    *("browse", "open", "generate", "give", "create", "engage", "discuss", "support", "continue"),
    *("process", "share", "write"),
)
_HEAD = 160
"""Characters from the start in which an answer declines, if it does."""
_DECLINES = re.compile(
    rf"{_ZH_SELF}[^。\n]{{0,20}}(?:{_ZH_CANNOT}|我并?没有)|{_ZH_SORRY}[^。\n]{{0,16}}{_ZH_CANNOT}{_ZH_DO}"
    rf"|^{_ZH_CANNOT}{_ZH_DO}[^。\n]{{0,12}}{_ZH_WHAT}"
    rf"|{_EN_SELF}[^.\n]{{0,60}}(?:{_EN_CANNOT}|\bi (?:don't|do not) have)"
    rf"|{_EN_SORRY}[^.\n]{{0,40}}{_EN_CANNOT} {_EN_DO}"
    rf"|^{_EN_CANNOT} {_EN_DO}\b[^.\n]{{0,40}}\b(?:request|that|this|with)\b",
    re.IGNORECASE,
)


_NEEDED = [
    *("无法", "不能", "没有", "没办法", "不便", "不会"),
    *("can't", "cant", "cannot", "can not", "not able", "unable", "won't", "ll not"),
    *("don't have", "do not have"),
]
"""One of these stands in each refusal, with whatever apostrophe."""


@plugin()
def refusal() -> Scorer:
    """True where the last answer declines in such words; write the rule as `not refusal`."""
    needed = [spelt for word in _NEEDED for spelt in {word, word.replace("'", "’")}]

    def score(rows: pl.DataFrame, _context: ScoreContext) -> pl.Series:
        answers = rows.select(a=ANSWER)["a"]
        may = answers.str.contains_any(needed, ascii_case_insensitive=True)
        return score_where(may, answers, declines, otherwise=False)

    return score


def declines(answer: str) -> bool:
    """Whether an answer begins as a refusal does."""
    head = answer.strip()[:_HEAD].replace("’", "'")
    return bool(_DECLINES.search(head))
