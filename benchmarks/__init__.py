"""Our stages measured beside their peers; reports to read and compare, no tests."""
