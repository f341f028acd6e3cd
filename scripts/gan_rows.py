"""What helps a GAN: the same minutes for S2I-C+guide as it is, and with one more thing each; docs/gan.jsonl, and a sheet of each in docs/sheets.

    python scripts/gan_rows.py --minutes 4          # every variant, one after the other, then the flow in the same minutes
    python scripts/gan_rows.py 'more looks' --minutes 4

Scored on development songs by the package's judge.
"""
import argparse, time
from pathlib import Path

from links import ROOT

ROWS, SHEETS = ROOT/'docs/gan.jsonl', ROOT/'docs/sheets'
LOOKS = 4
MORE = {   # of the game; what the recipe has, then one thing more each, then all of them
    'as it is': dict(),
    'more looks': dict(),
    'resizing': dict(resize=True),
    'augmented D': dict(seen_vary=.3),
    'longer average': dict(average=.998),
    'less distance': dict(match=60.),
    'all of them': dict(resize=True, seen_vary=.3, average=.998, match=60.)}
FLOW = 'a flow'
WITH_LOOKS = ('more looks', 'all of them', FLOW)


def trained(name, data, out, minutes):
    "A model that learnt for so many minutes, encoders included."
    from avgen_nb.cgan import S2I_C_GUIDED, train_run
    from avgen_nb.flow import train_flow
    from avgen_nb.runs import changed
    how = dict(minutes=minutes, budget='test', quiet=True)   # the budget is that of the judge beside the run, which is not used
    if name == FLOW: return train_flow('S2I-flow', data, out, opened=dict(data='orchestra'), **how)
    recipe = changed(S2I_C_GUIDED, name=f'S2I-C+guide, {name}', game=MORE[name])
    return train_run(recipe, data, out, **how)


def rows_of(run, dev, name):
    "All measures on every fourth moment of the development songs."
    from avgen_nb.runs import direction_of, name_of, pair_rows
    context = dict(system=name_of(run), recipe=name_of(run), direction=direction_of(run), data='orchestra', split='dev', n=len(dev), seeds=1,
                   steps=run.meta['steps'], minutes=run.meta['minutes'], factors=dict(more=name))
    return pair_rows(run, dev, context)


def main():
    from avgen_nb.experiments import thin
    from avgen_nb.judges import judge_for
    from avgen_nb.pairs import orchestra_pairs
    from flow_rows import publish
    from model_sheets import sheet
    p = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    p.add_argument('names', nargs='*', help='of variants; none: all')
    p.add_argument('--minutes', type=float, default=4.)
    p.add_argument('--out', type=Path, default=Path('runs/gan'))
    a = p.parse_args()
    plain, rich = orchestra_pairs(), None
    for name in a.names or (*MORE, FLOW):
        if name in WITH_LOOKS: rich = rich or orchestra_pairs(looks=LOOKS)
        data, began = rich if name in WITH_LOOKS else plain, time.time()
        run = trained(name, data, a.out/name.replace(' ', '-'), a.minutes)
        run.jury = judge_for(run.target, plain)
        rows = rows_of(run, thin(plain['dev'], 4), name)
        publish(ROWS, rows)
        sheet(run, plain['dev']).save(SHEETS/f'gan-{name.replace(" ", "-")}.jpg', quality=85)
        print(name, f'{time.time() - began:.0f} s', [(r.metric, round(r.value, 3)) for r in rows if r.metric in ('balanced_accuracy', 'precision', 'recall', 'coverage')], flush=True)


if __name__ == '__main__': main()
