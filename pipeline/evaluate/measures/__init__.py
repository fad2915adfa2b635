"""The measures of an evaluation: one module for each group of metrics."""
