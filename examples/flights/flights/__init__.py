"""User code of the flights example: where rows come from, and what a model may know."""
