"""HiPer: personalise a frozen Stable Diffusion with a few learned vectors, the tail."""
