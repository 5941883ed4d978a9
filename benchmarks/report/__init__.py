"""Reports: what records say, as one page that anybody can open."""
