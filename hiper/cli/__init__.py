"""Command lines: results on stdout, messages on stderr. Each imports PyTorch only once its options are understood."""
