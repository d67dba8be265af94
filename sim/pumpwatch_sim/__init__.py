"""A simulated county of filling stations that speaks the real wire protocols, with cheats whose truth is known."""
