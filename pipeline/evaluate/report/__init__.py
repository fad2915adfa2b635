"""The report of an evaluation: one HTML page that holds all it shows, and works when mailed."""
