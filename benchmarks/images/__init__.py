"""Published collections of edits, for users with real weights: read, edit, score."""
