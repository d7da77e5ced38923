"""The first page of the admin: how everything is, what it costs, and how it came about.

Three parts, each with a URL of its own that the page asks for again: `now` and `runs` every ten seconds, `charts` every
minute.
What they say is prepared here by few queries that sum up in the database: their number is the same for ten rows and for
a million, and none walks the keys. Each tile is for those only who may see the rows that it sums up.
"""
