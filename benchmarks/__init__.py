"Speed beside named peers, as ratios from one run on one machine: `python -m benchmarks`."
