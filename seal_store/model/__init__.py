"""Sequence -> windows -> CNN -> features -> decay sums -> heads, exactly and fast."""
