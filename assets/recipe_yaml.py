"""The YAML of recipes: as PyYAML reads it, but for keys that stand twice."""

from typing import Any

import yaml


class UniqueKeys(yaml.SafeLoader):
    """YAML whose repeated keys are mistakes; PyYAML alone keeps the last one silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} stands twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)
