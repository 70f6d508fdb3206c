"""Words of a text in any script, for metrics that compare words.

Of English these are the tokens of Google's `rouge-score`, which keeps only a-z and 0-9: to it
播放QQ音乐 and 删除QQ空间 are the same text. Here each Han character and kana is a word too, and so
are letters of other scripts that stand together.
"""

import re

_WORD = re.compile(
    "[a-z0-9]+"  # as rouge-score has it, so that é ends a word
    "|[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]"
    "|[^\\W_a-z0-9\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]+"
)


def split_words(text: str) -> list[str]:
    """The words in small letters, without punctuation."""
    return _WORD.findall(text.lower())
