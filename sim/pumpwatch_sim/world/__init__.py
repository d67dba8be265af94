"""How the county is built and what truly happens in it: tanks, meters, people."""
