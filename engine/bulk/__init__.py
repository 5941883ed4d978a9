"""Thousands of fits or edits from a table, on one machine or many: `hiper-bulk`."""
