"""Preset `chat`: a log of OpenAI-style messages, with the corrected answer beside them.

`messages` ends with the assistant's answer, or the answer stands under `choices` as the API gives
it (https://platform.openai.com/docs/api-reference/chat/object). Where the corrected answer stands
nobody has fixed; `correction` and `gold` are looked for.
"""

from typing import Any

from curation.plugins import plugin
from curation.presets._base import Data, Preset, case
from curation.presets._texts import answer_text, prompt_text, require, split_answer


@plugin()
def chat() -> Preset:
    """Messages with `correction` or `gold`; found by the `model` that is named."""
    return Preset(fits=lambda record: isinstance(record.get("messages"), list), read=_read)


def _read(record: Data) -> dict[str, Any]:
    asked, answer = record["messages"], None
    if "choices" in record:
        answer = answer_text({"choices": record["choices"]})
    else:
        asked, answer = split_answer(asked)
    gold = answer_text(record.get("correction", record.get("gold")))
    return case(prompt_text(asked), require(answer), gold, record.get("model"))
