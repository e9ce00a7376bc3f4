"""The way of answered requests and labels from a worker's spool to the prediction log."""
