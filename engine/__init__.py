"""Runs and serves edits from exported files; imports NumPy and no PyTorch."""
