"""Engine `local`: this process."""

from curation.engines._base import HERE, Engine
from curation.plugins import plugin


@plugin()
def local() -> Engine:
    """All work is done here, one part after another."""
    return HERE
