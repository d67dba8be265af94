"""Everything that can be wrong at a station, and the honest things that look like it: the catalogue."""
