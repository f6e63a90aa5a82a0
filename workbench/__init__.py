"""The parts that the stage notebooks are composed from; importing this package loads neither torch nor whisper."""

import os

__version__ = "0.1.0"

# OpenMP's threads wait for each other by spinning, 300,000 times before they sleep (GNU libgomp manual,
# "GOMP_SPINCOUNT"): beside anything else that runs, one that spins keeps the core from the one it waits for. PyTorch's
# reads this as it is loaded; a setting of the user's own counts. Measured by benchmarks/spinning.py.
os.environ.setdefault("GOMP_SPINCOUNT", "5000")
