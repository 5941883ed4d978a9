"""Menagerie: a small world of cartoon animals, and a small Stable Diffusion trained on it, with known ground truth."""
