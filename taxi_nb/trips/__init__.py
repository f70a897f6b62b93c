"""Trips: where months come from, what a trip is, and loading them.

- `loading`: `load_trips`, a frame of clean trips; `iter_trips`, the same in batches
- `cleaning`, `report`: which records are trips, and what was taken out
- `origin`: where a frame came from; `schema`: what it promises
- `sources`, `tlc`, `sample`: folders and buckets, the TLC's months, synthetic months
- `reading`, `engines`: one month's file to records, whatever types it has
"""
