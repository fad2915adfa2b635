"""Presets: named configurations, one YAML file each."""
