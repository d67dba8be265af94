"""The dashboards of pumpwatch: wall, station page and alarm page, served by a process of their own."""
