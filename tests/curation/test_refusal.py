"""Refusal boilerplate is found in both languages, and ordinary answers are not taken for it."""

import polars as pl
import pytest

from curation.rows import ROW_SCHEMA, dialogue, make_row
from curation.scorers._base import ScoreContext
from curation.scorers.refusal import declines, refusal
from curation.tasks.free_text import free_text

REFUSALS = [
    "作为一个人工智能语言模型，我无法提供医疗建议。",
    "作为AI助手，我不能为您完成这个操作。",
    "我是一个大语言模型，目前无法访问互联网。",
    "抱歉，我无法回答这个问题。",
    "作为人工智能，我没有个人偏好或情感。",
    "Unfortunately, as an AI language model, I don't have the capability to draw.",
    "很抱歉，我暂时无法为您提供相关信息。",
    "对不起，这个请求我不能协助完成。",
    "非常抱歉，我没有办法满足您的要求。",
    "我无法提供该内容，请换一个问题。",
    "As an AI language model, I cannot provide legal advice.",
    "As a large language model, I don't have feelings, and I am unable to browse the web.",
    "I'm sorry, but I can't assist with that request.",
    "I’m sorry, I cannot help you with this.",
    "I am very sorry, but I am not able to complete this task.",
    "Unfortunately, I can't access external links.",
    "I apologize, but I cannot fulfill your request.",
    "抱歉，我不能帮忙做这件事。",
    "I cannot help with that.",
]
ANSWERS = [
    '{"actions":[{"do":"打开","what":"空调"}]}',
    "好的，已为您打开空调。",
    "抱歉让您久等了，空调已经打开。",
    "作为AI技术的一种，语音识别把声音变成文字。",
    "作为AI技术的一种，语音识别没有表情可看。",
    "作为人工智能助手，我很乐意帮您规划行程。",
    "我是一名医生，无法到场时会请同事代班。",
    "如果你无法打开车门，请先检查钥匙电量。",
    "对不起用英语怎么说？可以说 I'm sorry。",
    "车辆行驶时不能观看视频，这是为了安全。",
    "他说他很抱歉，不能参加明天的会议。",
    "遗憾的是，这首歌没有版权，已为您播放另一首。",
    "Sorry for the delay: the window is open now.",
    "I'm sorry to hear that. Take a break and call a friend.",
    "As an AI engineer, you should learn statistics first.",
    "You cannot open the trunk while driving.",
    "Unfortunately, the first train was late, so we took the second.",
    "She said: I can't believe it!",
    "",
]


@pytest.mark.parametrize("answer", REFUSALS)
def test_a_refusal_is_found(answer):
    assert declines(answer) and declines(f"  \n{answer}")


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_is_none(answer):
    assert not declines(answer)


def test_a_refusal_is_found_however_the_model_says_that_it_cannot():
    zh = ("无法", "不能", "没有办法", "没办法", "不便", "不会", "暂时不能", "还没办法直接")
    en = ("can't", "can’t", "cant", "CANNOT", "can not", "am not able to", "am UNABLE to")
    texts = [f"很抱歉，我{word}提供这些信息。" for word in zh]
    texts += [f"I'm sorry, but I {word} help." for word in (*en, "won't", "won’t", "will not")]
    texts += ["作为人工智能，我没有感情。", "作为一个大模型，我并没有眼睛。"]
    texts += [
        f"As an AI, I {word} feelings." for word in ("don't have", "don’t have", "do not have")
    ]
    rows = pl.DataFrame([make_row(dialogue("问", text)) for text in texts], schema=ROW_SCHEMA)
    context = ScoreContext(task=free_text(), reference=ROW_SCHEMA.to_frame())
    assert rows.filter(~refusal()(rows, context)).is_empty() and all(map(declines, texts))


def test_only_the_beginning_of_the_last_answer_counts():
    late = "先看第一步：检查电源。" * 20 + REFUSALS[0]
    turns = [*dialogue("问", REFUSALS[0]), *dialogue("再问", "答")]
    rows = [make_row(dialogue("问", REFUSALS[3])), make_row(dialogue("问", late)), make_row(turns)]
    frame = pl.DataFrame(rows, schema=ROW_SCHEMA)
    context = ScoreContext(task=free_text(), reference=ROW_SCHEMA.to_frame())
    assert refusal()(frame, context).to_list() == [True, False, False]
