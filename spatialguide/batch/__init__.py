"""Many prompts: requests in, images and their metadata out, in units that are drawn and committed whole.

requests   what is asked for, from JSON lines, CSV, Parquet or plain text
store      where results go: committed units, content-addressed images, anything that fsspec opens
rows       what is written of a unit: names, shards, rows of metadata
painter    draws one unit: parsed in bulk, in batches of like requests, poison set aside
local, ray_engine   who calls the painter: this process, or Ray's actors
worker     a painter and where its units go, with notes of what it is at
ledger     those notes: what was begun when a process died
runs       the run as a whole: what is left to do, counts, report
"""
