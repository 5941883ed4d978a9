"""How faithful are edits? HiPer and its rivals on Menagerie, measured against the truth that only a renderer knows."""
