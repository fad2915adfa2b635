"""Runs beside each other: what differs in their settings, their scores, curves and samples."""
