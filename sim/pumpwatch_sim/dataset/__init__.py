"""The world as files: the canonical data set and the truth beside it."""
