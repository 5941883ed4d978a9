"""Turns a model's networks into files that run without PyTorch, each checked against PyTorch before it may be used."""
