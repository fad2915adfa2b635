"""What an evaluation measures: one module for each group of metrics."""
