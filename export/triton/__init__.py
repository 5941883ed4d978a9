"""Bundle → Triton model repository."""
