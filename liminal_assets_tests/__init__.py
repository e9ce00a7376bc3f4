"""The tests of the package; importing it comes before any of what they test."""

from __future__ import annotations

import os

# pytest-xdist starts a process for each core, and numeric libraries a thread for each core in each
# of them: threads that wait for one another by spinning took several times what they did together
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
