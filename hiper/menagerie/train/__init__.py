"""How Menagerie's own Stable Diffusion is trained: `python -m hiper.menagerie.train --help`."""
