"""Intervals over songs and seeds for stored rows of runs whose answers are gone.

    python scripts/seed_intervals.py docs/chen2017.jsonl docs/cmcgan2018.jsonl

A mean over k seeds has an interval over songs alone in old rows. It becomes value ± 1.96 √(s²/k + v): s the standard deviation of the seeds'
values, v the variance over songs, read off that interval. A difference of two systems takes the differences of their seeds' values.
Such rows have `seeds` and no `songs`; rows of one seed get `seeds` = 1.
"""
import statistics, sys
from dataclasses import replace

from avgen_nb.metrics import read_rows, write_rows

DIFFERENCES = ('gain', 'balanced_accuracy_gap')   # metrics of a difference; its two systems are the factors `of` and `over`


def kin(row, system=None, metric=None): return system or row.system, row.direction, row.data, row.budget, row.split, metric or row.metric


def widened(mean, values):
    "The mean's row with an interval over songs and seeds."
    over_songs = (mean.high - mean.low) / (2 * 1.96)
    half = 1.96 * (statistics.variance(values) / len(values) + over_songs ** 2) ** .5
    least = -1. if mean.metric in DIFFERENCES else 0.
    return replace(mean, low=max(least, mean.value - half), high=min(1., mean.value + half), seeds=len(values), songs=None)


def seeds_of(row, known):
    "The value of every seed of a mean, or of a difference of two means; known: kin → {seed: value}."
    if row.metric not in DIFFERENCES: return list(known.get(kin(row), {}).values())
    a, b = (known.get(kin(row, row.factors[k], 'balanced_accuracy'), {}) for k in ('of', 'over'))
    return [a[s] - b[s] for s in a] if a.keys() == b.keys() else []


def renewed(rows):
    "Every row with the number of its seeds; those that have one stay as they are."
    known = {}
    for r in rows:
        if r.seed is not None: known.setdefault(kin(r), {})[r.seed] = r.value
    def new(r):
        if r.seeds is not None: return r
        if r.seed is not None: return replace(r, seeds=1)
        of = seeds_of(r, known)
        return widened(r, of) if len(of) > 1 and r.low is not None else r
    return [new(r) for r in rows]


if __name__ == '__main__':
    for path in sys.argv[1:]: write_rows(path, renewed(read_rows(path)), append=False)
