"""The tasks that the benchmarks measure: functions that run in separate processes."""
