"""Comparison of runs: their settings, scores, curves and samples."""
