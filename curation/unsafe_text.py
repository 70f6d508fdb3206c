"""Text that may not pass from outside into training: template markers, addresses, instructions.

A tokeniser, a person and a model read spellings alike that differ in width, case or invisible
characters, so everything is looked for in the text as it is and in its folded form.
"""

import re
import unicodedata

_MARKER = re.compile(
    r"<[|｜][^\s<>|｜]{1,60}[|｜]>"  # <|im_start|>, <|eot_id|>, <｜end▁of▁sentence｜>
    r"|\[/?INST\]|\[/?(?:SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]|<</?SYS>>"
    r"|</?(?:s|bos|eos|pad|unk|sep|cls|mask|start_of_turn|end_of_turn|start_of_image)>"
    r"|<(?:extra_id_[0-9]+|0x[0-9A-F]{2}|reserved_[0-9]+|user_[0-9]+|assistant_[0-9]+)>",
    re.IGNORECASE,
)
_FENCE = re.compile(r"</?(?:data|example|tool_call|think)>|^\s*(?:```|~~~)", re.I | re.M)
_URL = re.compile(
    r"[a-z][a-z0-9+.-]{1,15}:/{1,}[^\s/]|www\.[a-z0-9]|(?:javascript|vbscript|mailto):\S|data:[a-z]+/"
    r"|(?<![a-z0-9-])[a-z0-9-]+\.(?:com|cn|net|org|io|top|xyz|ru|dev|app|info|biz|cc|me|co|ai|link"
    r"|site|online|shop|club|vip|example)(?![a-z0-9])"
    r"|(?<![a-z0-9-])(?:[a-z0-9-]+\.)+[a-z]{2,}/\S|(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])"
)
_INSTRUCTION = re.compile(
    r"(?:ignore|disregard|forget|override)\s+(?:all|any|the|your|previous|above|prior|earlier)"
    r"[\w\s]{0,20}(?:instruction|prompt|rule|message)|system prompt|系统提示词"
    r"|(?:忽略|无视|忘记|忘掉)(?:掉|你|以上|上面|上述|之前|前面|所有|的|全部){1,6}"
    r"(?:指令|指示|要求|规则|提示|内容)"
    r"|^\s*(?:#+\s*)?(?:system|assistant|developer|instructions?)\s*:|\byou are now\b"
    r"|^\s*(?:系统|助手)\s*:|从现在(?:开始|起)[,\s]*你(?:是|扮演|必须|只能)",
    re.MULTILINE,
)


def fold_text(text: str) -> str:
    """NFKC without the characters nobody sees: zero-width, bidi, soft hyphens, selectors."""
    if text.isascii():
        return text
    seen = (c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c) != "Cf")
    return "".join(c for c in seen if not "\ufe00" <= c <= "\ufe0f")


def find_markers(text: str) -> list[str]:
    """The markers of chat templates in a text, in their order, however they are spelt."""
    return _MARKER.findall(text) or _MARKER.findall(fold_text(text))


def unsafe_reason(text: str) -> str:
    """`url`, `special_token`, `instruction` or "": what text made from a bad case may not hold."""
    folded = fold_text(text).lower()
    if _URL.search(folded):
        return "url"
    if find_markers(text) or _FENCE.search(folded):
        return "special_token"
    return "instruction" if _INSTRUCTION.search(folded) else ""
