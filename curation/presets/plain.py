"""Preset `plain`: `{prompt, gold, predicted}`, and `found_by` where it is known."""

from curation.plugins import plugin
from curation.presets._base import Preset


@plugin()
def plain() -> Preset:
    """Records as they are; what they lack is said when they are put into the inbox."""
    return Preset(fits=lambda record: isinstance(record.get("prompt"), str), read=dict)
