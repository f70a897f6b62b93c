"""Trips: where months come from, what a trip is, and loading them.

- `loading`, `split`: `load_trips`, `iter_trips` and `load_split`; two sets kept apart
- `batches`, `_month_reader`: the clean trips of months, batch by batch or in one frame
- `cleaning`, `report`: which records are trips, and what was taken out
- `checks`, `judging`: what a month has to pass, and whether it does
- `origin`: where a frame came from; `schema`: its columns, types and ranges
- `sources`, `_tlc`, `sample`: folders and buckets, the TLC's months, synthetic months
- `month_counter`: what is counted of a month while it is read, and the digest of its trips
- `month_file`, `reading`, `engines`, `records`: one month's file to records of one type
"""
