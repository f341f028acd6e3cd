"""Put trained runs into the package, or score those that are in it again: a byte a weight, and a card with the figures that those weights get.

    avgen train S2I-C+guide --minutes 45 --out runs/long/S2I-C+guide
    avgen train I2S+guide --minutes 45 --out runs/long/I2S+guide
    python scripts/ship_models.py runs/long/S2I-C+guide runs/long/I2S+guide --minutes 45
    avgen train CMCGAN+guide --minutes 38
    python scripts/ship_models.py runs/CMCGAN+guide --minutes 38
    python scripts/ship_models.py --rescore        # nothing is trained or copied; cards and rows are made anew

The figures are those of the exam: songs of a world of another seed, on which no choice was ever made. Scores come from the package's own judges.
The rows go to the cards and to docs/results.jsonl, in place of older ones of the same model; `make readme` puts them into README.md.
Rows of real recordings (scripts/real_recordings.py, to be run before) go to the cards too.
"""
import argparse, json
from dataclasses import asdict, replace
from pathlib import Path

import torch
from links import ROOT

MODELS, RESULTS = ROOT/'avgen_nb/models', ROOT/'docs/results.jsonl'
LIMIT = 20 * 2 ** 20   # bytes of all weights in the package together
NOTES = 5            # single notes of each instrument, over its range


def shrink(path, out):
    "The same nets, a byte a weight."
    from avgen_nb.files import in_bytes, out_of_bytes, read_tensors, write_tensors
    tensors, meta = read_tensors(path, 'nets')
    write_tensors(out, in_bytes(out_of_bytes(tensors)), meta, 'nets')


def ship(folder):
    "Copy the models of a run's folder into the package; their names there."
    from avgen_nb.runs import load_run, name_of
    for run in sorted(p.parent for p in folder.rglob('model.safetensors')):
        name = Path(name_of(load_run(run)))/run.relative_to(folder)
        (MODELS/name).mkdir(parents=True, exist_ok=True)
        shrink(run/'model.safetensors', MODELS/name/'model.safetensors')
        yield name.as_posix()


def single_notes():
    "Notes over the range of every instrument, by unknown players: (instrument, pitch, pair)."
    import numpy as np
    from avgen_nb.explorer import play_pair
    from avgen_nb.players import INSTRUMENTS, RANGES
    return [(i, p, play_pair(i, p)) for i in INSTRUMENTS for p in np.linspace(*RANGES[i], NOTES).round()]


def moved_by_z(run, notes):
    "How far another z moves what is made, as a share of how far another note of the same instrument does."
    import torch
    from avgen_nb.runs import steady
    given = torch.cat([getattr(pair, run.source.name) for _, _, pair in notes])
    made, other = (steady(run, given, z) for z in (0, 1))
    by_note = made.unflatten(0, (-1, NOTES))
    return dict(value=float((made - other).abs().mean() / (by_note - by_note.roll(1, 1)).abs().mean()))


def semitones_missed(run, notes):
    "Median distance of the made pitch from the true one; chance: that of the middle of the range."
    import numpy as np
    from avgen_nb.players import RANGES
    from avgen_nb.sound import lms_to_wave, midi_to_hz, pitch_of
    far, blind = [], []
    for instrument, pitch, pair in notes:
        low, high = RANGES[instrument]
        wave = lms_to_wave(run.make(pair.picture))[0]
        far.append(abs(pitch_of(wave, float(midi_to_hz(low - 3)), float(midi_to_hz(high + 3))) - pitch))
        blind.append(abs((low + high) / 2 - pitch))
    return dict(value=float(np.nanmedian(far)), chance=float(np.median(blind)))


def copies(run, row):
    "How near the training items what is made from the exam is, as a share of how near unseen real items are."
    from avgen_nb.metrics import copy_rows
    from avgen_nb.pairs import exam_pairs, orchestra_pairs
    from avgen_nb.runs import over
    exam, train, name = exam_pairs(), orchestra_pairs()['train'], run.target.name
    some = exam.subset(torch.arange(0, len(exam), 4))
    made = over(run, some, lambda x: x)
    of = {k: getattr(row, k) for k in ('system', 'recipe', 'direction', 'data', 'split', 'steps', 'minutes', 'device', 'version', 'seeds')}
    return [replace(r, seed=row.seed) for r in copy_rows(getattr(train, f'{name}s'), made, some.over(lambda batch: getattr(batch, name)), run.jury.features, **of)]


LIMITS = dict(picture=(moved_by_z,), sound=(moved_by_z, semitones_missed))   # what is measured of what is made

def limits(run, row):
    "Rows of what the model does not do, over single notes; `row` says whose they are."
    notes = single_notes()
    bare = replace(row, split='single notes', n=len(notes), songs=None, low=None, high=None, ceiling=None, chance=None, paper=None)
    return [replace(bare, metric=f.__name__, **f(run, notes)) for f in LIMITS[run.target.name]]


def card(run, rows, command):
    "What one must know of a model: how it was made, on what, and how good it is."
    from avgen_nb.runs import direction_of, name_of
    m = run.meta
    return dict(model=f'{name_of(run)}, {direction_of(run)}', command=command, seed=m['seed'], data='the built-in orchestra, default size: ' + ', '.join(m['classes']),
                hardware=rows[0].device, minutes=m['minutes'], steps=m['steps'], version=m['version'], rows=[asdict(r) for r in rows])


def cannot(rows):
    "What the model does not do, in sentences made from its rows."
    by, (source, _, target) = {r['metric']: r for r in rows}, rows[0]['direction'].partition(' → ')
    said = [f'z should choose what a {source} leaves open: another z moves the {target} {by["moved_by_z"]["value"]:.2f} times as far as another note of the same instrument does.']
    if r := by.get('semitones_missed'):
        said.append(f'It does not play the note that the player holds: over {r["n"]} single notes it misses by {r["value"]:.1f} semitones (median); the middle of the range would miss by {r["chance"]:.1f}.')
    if r := by.get('recall'): said.append(f'Recall {r["value"]:.2f}: that share of the real variety lies among what it makes.')
    return ' '.join(said)


def as_markdown(card):
    "The card for people."
    first, show = card['rows'][0], lambda x: '' if x is None else f'{x:.3f}'
    lines = [f'# {card["model"]}', '', 'Trained on drawn players and recorded notes of the built-in orchestra, and on nothing else. '
             'It knows 13 instruments, half a second at a time, and 64×64 pixels. On photographs and on recordings from other rooms expect much less than these figures.', '',
             f'    {card["command"]}', '', f'Seed {card["seed"]}, {card["steps"]} steps, {card["minutes"]} minutes with its encoders, {card["hardware"]}. Licence: Apache-2.0, as the package.', '',
             f'Scored once on the exam: {first["songs"]} songs of a world of another seed, with other melodies, players and rooms, on which no choice was ever made. The same sampled '
             f'voices serve all worlds. One seed: another training of the same recipe may score otherwise, and the interval covers other songs only. '
             f'The judge is the package\'s own and no part of the model.', '',
             f'What it does not do: {cannot(card["rows"])}', '',
             '| metric | on | value | 95 % over songs | real, or ceiling | chance |', '|---|---|---|---|---|---|']
    ends = lambda r: '' if r['low'] is None else show(r['low']) + ' to ' + show(r['high'])
    lines += [f'| {r["metric"]} | {r["data"] if r["split"] == "recordings" else r["split"]} | {show(r["value"])} | {ends(r)} | {show(r["ceiling"])} | {show(r["chance"])} |' for r in card['rows']]
    return '\n'.join(lines) + '\n'


def same_model(a, b): return all(getattr(a, k) == getattr(b, k) for k in ('system', 'direction', 'seed', 'steps'))


def score(name, command):
    "Write a model's card anew; its rows."
    from avgen_nb.runs import evaluate_run, shipped
    from avgen_nb.metrics import read_rows
    run = shipped(name)
    rows = evaluate_run(run, split='exam')
    rows += copies(run, rows[0]) + limits(run, rows[0])
    rows += [r for r in read_rows(RESULTS) if same_model(r, rows[0]) and r.split == 'recordings']
    about = card(run, rows, command)
    (MODELS/name/'card.json').write_text(json.dumps(about, indent=1, ensure_ascii=False) + '\n', encoding='utf-8')
    (MODELS/name/'card.md').write_text(as_markdown(about), encoding='utf-8')
    print(f'{about["model"]}: balanced accuracy {rows[0].value:.4f} [{rows[0].low:.3f}, {rows[0].high:.3f}]')
    return rows


def publish(rows):
    "Put the rows of a model into docs/results.jsonl, in place of those that are there."
    from avgen_nb.metrics import read_rows, write_rows
    write_rows(RESULTS, [r for r in read_rows(RESULTS) if not same_model(r, rows[0])] + rows, append=False)


def main():
    from avgen_nb.runs import shipped_names
    p = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    p.add_argument('runs', nargs='*', type=Path)
    p.add_argument('--minutes', type=float, help='that the runs were given, for the card')
    p.add_argument('--command', help='that made the runs, for the card; none: `avgen train NAME --minutes MINUTES`')
    p.add_argument('--rescore', action='store_true', help='score the models that are in the package again')
    a = p.parse_args()
    if a.rescore == bool(a.runs) or a.rescore == bool(a.minutes or a.command): p.error('give runs with --minutes or --command, or --rescore alone')
    told = lambda name: a.command if a.command else f'avgen train {name.partition("/")[0]} --minutes {a.minutes:g}' if a.minutes else json.loads((MODELS/name/'card.json').read_text(encoding='utf-8'))['command']
    names = shipped_names() if a.rescore else [name for folder in a.runs for name in ship(folder)]
    for name in names: publish(score(name, told(name)))
    size = sum(path.stat().st_size for path in MODELS.rglob('*.safetensors'))
    print(f'{size:,} bytes of weights in the package')
    if size > LIMIT: raise SystemExit(f'The weights take {size:,} bytes, more than {LIMIT:,}: train narrower nets.')


if __name__ == '__main__': main()
