"""The pages of a run, made from its record; see `site.write_site`. They open from disk."""
