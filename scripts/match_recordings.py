"""Linear probes of the towers of lesson 30 on real recordings: DIR/<instrument>/*.{wav,flac,ogg,mp3}.

    python scripts/match_recordings.py DIR runs/l3net2017/cpu --name 'Philharmonia recordings'

Of each recording the loudest half second is heard. Two figures of each net: a probe that learnt from the other half of the recordings, and one that learnt
from the built-in orchestra and never heard a recording. The rows go to docs/l3net2017.jsonl, in place of older ones of the same recordings.
"""
import argparse
from dataclasses import asdict
from pathlib import Path

from links import ROOT
from real_recordings import heard

ROWS = ROOT/'docs/l3net2017.jsonl'


def nets_of(out):
    "The towers that the experiments kept, by the name of their recipe; and untrained ones."
    from avgen_nb.correspondence import CONTRAST, MatchRecipe, Towers
    from avgen_nb.files import load_nets
    from avgen_nb.loop import seeded
    from avgen_nb.runs import changed, recipe_from
    found = {}
    for path in sorted(Path(out).glob('nets/*/net.safetensors')):
        weights, meta = load_nets(path)
        recipe = recipe_from(MatchRecipe, meta['facts']['recipe'] | dict(steps=asdict(CONTRAST.steps)))
        if meta['facts']['seed']: continue
        found[recipe.name] = (Towers(recipe), meta)
        found[recipe.name][0].load_state_dict(weights['net'])
    with seeded(0): found['random'] = (Towers(changed(CONTRAST, name='random')), dict(minutes=0., facts=dict(steps=0)))
    return found


def rows_of(x, labels, nets, train, name, budget):
    "Two rows of each net."
    import torch
    from torch.nn import functional as F
    from avgen_nb import __version__
    from avgen_nb.judges import chance, song_interval
    from avgen_nb.metrics import Row, device_name
    from avgen_nb.probes import linear_readout
    n, kinds = len(labels), labels.unique()
    named = lambda logits: kinds[logits[:, kinds].argmax(1)]   # only names that occur
    half = torch.arange(n) % 2 == 0
    one_hot = lambda y: F.one_hot(y, 13).float()
    for system, (towers, meta) in nets.items():
        with torch.no_grad(): phi = torch.cat([towers.eval().ear(p) for p in x.split(64)])
        world = train.over(lambda b: towers.ear(b.sound))
        answers = torch.empty(n, dtype=torch.long)
        for own, other in ((half, ~half), (~half, half)):
            answers[own] = named(linear_readout(phi[other], one_hot(labels[other]))(phi[own]))
        from_world = named(linear_readout(world, one_hot(train.labels))(phi))
        for metric, pred in (('probe_recorded', answers), ('probe_recorded_from_world', from_world)):
            value, low, high = song_interval(labels, pred, torch.arange(n))
            yield Row(system=system, recipe=system, direction='sound → name', data=name, budget=budget, split='recordings', metric=metric, value=value, low=low,
                      high=high, n=n, songs=n, seeds=1, chance=chance(len(kinds)), steps=meta['facts']['steps'], minutes=meta['minutes'], device=device_name(),
                      version=__version__)


def main():
    from avgen_nb.experiments import thin
    from avgen_nb.metrics import read_rows, rows_to_table, write_rows
    from avgen_nb.pairs import orchestra_pairs
    p = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    p.add_argument('folder', type=Path, metavar='DIR', help='a folder of folders that are named as instruments')
    p.add_argument('out', type=Path, metavar='RUNS', help='where the experiments kept their nets')
    p.add_argument('--name', help="what the rows call them (default: after the folder)")
    a = p.parse_args()
    name = a.name or f'{a.folder.resolve().name.capitalize()} recordings'
    x, labels = heard(a.folder)
    rows = list(rows_of(x, labels, nets_of(a.out), thin(orchestra_pairs()['train'], 4), name, a.out.name))
    print(rows_to_table(rows))
    old = read_rows(ROWS) if ROWS.exists() else []
    write_rows(ROWS, [r for r in old if (r.split, r.data) != ('recordings', name)] + rows, append=False)


if __name__ == '__main__': main()
