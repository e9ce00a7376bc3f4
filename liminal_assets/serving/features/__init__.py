"""Features at request time: what a row leaves out comes from the online store."""
