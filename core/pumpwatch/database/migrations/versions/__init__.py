"""Schema revisions, oldest first. A revision that has been released is never edited; the next one is added."""
