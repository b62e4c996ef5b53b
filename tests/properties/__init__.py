"""Properties of attribution over generated histories: real parser, lake, dbt and DuckDB.

A history is what may happen to a few people, phones, ads and one ad account; many independent ones
share a world, so that one dbt build examines them all.
"""
