"""Benchmarks of the stages and their peers. They print reports; they are not tests."""
