"""How property tests run here: by how many examples, and never by the clock of a busy machine."""

from hypothesis import settings

settings.register_profile("winnow", deadline=None, max_examples=60)
settings.load_profile("winnow")
