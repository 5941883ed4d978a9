"""Servers that make edits, and what it takes to compare them over HTTP."""
