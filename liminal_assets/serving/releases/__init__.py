"""Releases: versions of a model as folders that a server answers from."""
