"""What the invariants' tests share: a bounded number of examples, the same ones in every run."""

from hypothesis import settings

settings.register_profile("bounded", max_examples=150, deadline=None, derandomize=True, database=None)
settings.load_profile("bounded")
