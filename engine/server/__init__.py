"""`hiper-serve`: the HTTP front, its store and the processes it owns; no model code and no PyTorch."""
