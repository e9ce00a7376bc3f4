"""Benchmarks: ours beside what one would write by hand, in turn, as ratios in one run."""
