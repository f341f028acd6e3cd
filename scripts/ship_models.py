"""Put trained runs into the package: weights in half precision, and a card with the figures that those weights get.

    avgen train S2I-C+guide --minutes 45 --out runs/long/S2I-C+guide
    avgen train I2S+guide --minutes 45 --out runs/long/I2S+guide
    python scripts/ship_models.py runs/long/S2I-C+guide runs/long/I2S+guide --minutes 45
    avgen train CMCGAN+guide --minutes 38
    python scripts/ship_models.py runs/CMCGAN+guide --minutes 38

The figures are counted anew from the half-precision weights, on the built-in orchestra's test songs.
"""
import argparse, json
from dataclasses import asdict
from pathlib import Path

from links import ROOT

MODELS = ROOT/'avgen_nb/models'
LIMIT = 10_000_000   # bytes of the weights of one paper's models together


def halve(path, out):
    "The same nets in half precision."
    from avgen_nb.training import read_tensors, write_tensors
    tensors, meta = read_tensors(path, 'nets')
    write_tensors(out, {k: v.half() if v.is_floating_point() else v for k, v in tensors.items()}, meta, 'nets')


def card(run, rows, command):
    "What one must know of a model: how it was made, on what, and how good it is."
    m = run.meta
    return dict(model=f'{run.recipe.name}, {run.source.name} → {run.target.name}', command=command, seed=m['seed'], data='the built-in orchestra, default size: ' + ', '.join(m['classes']),
                hardware=rows[0].device, minutes=m['minutes'], steps=m['steps'], version=m['version'], rows=[asdict(r) for r in rows])


def as_markdown(card):
    "The card for people."
    lines = [f'# {card["model"]}', '', 'Trained on drawn players and recorded notes of the built-in orchestra, and on nothing else. '
             'It knows 13 instruments, half a second at a time, and 64×64 pixels. On photographs and on recordings from other rooms expect much less than these figures.', '',
             f'    {card["command"]}', '', f'Seed {card["seed"]}, {card["steps"]} steps, {card["minutes"]} minutes with its encoders, {card["hardware"]}. Licence: Apache-2.0, as the package.', '',
             '| metric | value | 95 % over songs | ceiling | chance |', '|---|---|---|---|---|']
    show = lambda x: '' if x is None else f'{x:.3f}'
    for r in card['rows']: lines.append(f'| {r["metric"]} | {show(r["value"])} | {"" if r["low"] is None else show(r["low"]) + " to " + show(r["high"])} | {show(r["ceiling"])} | {show(r["chance"])} |')
    return '\n'.join(lines) + '\n\nTest songs, which no part of it has met; the judge is no part of it.\n'


def main():
    from avgen_nb.cgan import evaluate_run, load_run
    p = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    p.add_argument('runs', nargs='+', type=Path)
    p.add_argument('--minutes', type=float, required=True, help='that the runs were given, for the card')
    a = p.parse_args()
    size = 0
    for folder in a.runs:
        for run in sorted(p.parent for p in folder.rglob('model.safetensors')):
            name = load_run(run).recipe.name
            out = MODELS/name/run.relative_to(folder)
            out.mkdir(parents=True, exist_ok=True)
            for file in ('model.safetensors', 'judge.safetensors'): halve(run/file, out/file)
            made = load_run(out)
            rows = evaluate_run(made)
            about = card(made, rows, f'avgen train {name} --minutes {a.minutes:g}')
            (out/'card.json').write_text(json.dumps(about, indent=1, ensure_ascii=False) + '\n', encoding='utf-8')
            (out/'card.md').write_text(as_markdown(about), encoding='utf-8')
            size += (out/'model.safetensors').stat().st_size
            print(f'{about["model"]}: balanced accuracy {rows[0].value:.4f} [{rows[0].low:.3f}, {rows[0].high:.3f}]')
    print(f'{size:,} bytes of weights')
    if size > LIMIT: raise SystemExit(f'The weights take {size:,} bytes, more than {LIMIT:,}: train narrower nets.')


if __name__ == '__main__': main()
