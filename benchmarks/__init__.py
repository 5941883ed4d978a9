"""Measurements: one question a script, one JSON record a run."""
