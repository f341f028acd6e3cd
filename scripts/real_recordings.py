"""Score the shipped models that hear, and the package's judge of sounds, on real recordings: DIR/<instrument>/*.{wav,flac,ogg,mp3}.

    python scripts/real_recordings.py DIR --name 'Philharmonia recordings'

Of each recording the loudest half second is heard, as `avgen picture` does. Folders that are not named as one of the 13 instruments are left out, files that
cannot be used are told and left out. The rows go to docs/results.jsonl, in place of older ones of the same recordings; `make readme` puts them into README.md.
"""
import argparse, sys
from pathlib import Path

from links import ROOT

RESULTS = ROOT/'docs/results.jsonl'


def heard(folder):
    "The recordings of a folder: LMS (N, 1, 128, 44), labels (N,)."
    import torch
    from avgen_nb.players import INSTRUMENTS
    from avgen_nb.sound import lms, loudest_window, read_sound
    from avgen_nb.folders import SOUNDS
    waves, labels = [], []
    for k, instrument in enumerate(INSTRUMENTS):
        for path in sorted(p for p in (folder/instrument).glob('*') if p.suffix.lower() in SOUNDS):
            try: waves.append(loudest_window(read_sound(path), str(path)))
            except ValueError as e: print(e, file=sys.stderr)
            else: labels.append(k)
    if not waves: raise SystemExit(f'{folder} holds no recording that can be used; give a folder of folders that are named as instruments: {", ".join(INSTRUMENTS)}.')
    return lms(torch.stack(waves)), torch.tensor(labels)


def score(judge, x, labels, **context):
    "One row: how often the judge names the right instrument; a recording is a song."
    import torch
    from avgen_nb.judges import chance, song_interval, judge_labels
    from avgen_nb.metrics import Row, device_name
    from avgen_nb.players import INSTRUMENTS
    true, n = judge_labels(judge, labels, INSTRUMENTS), len(labels)
    value, low, high = song_interval(true, judge.predict(x).argmax(1), torch.arange(n))
    return Row(metric='balanced_accuracy', value=value, low=low, high=high, n=n, songs=n, seeds=1, chance=chance(len(judge.classes)),
               **dict(split='recordings', device=device_name()) | context)


def rows_of(x, labels, name):
    "The judge of sounds itself, then every shipped model that hears."
    from avgen_nb import __version__
    from avgen_nb.runs import direction_of, name_of, shipped, shipped_names
    runs = [shipped(n) for n in shipped_names()]
    judge = next(r.jury for r in runs if r.target.name == 'sound')
    yield score(judge, x, labels, system='judge of sounds', direction='sound → name', data=name, version=__version__)
    for r in runs:
        if r.source.name != 'sound': continue
        m = {k: r.meta[k] for k in ('seed', 'steps', 'minutes', 'version')}
        yield score(r.jury, r.make(x), labels, system=name_of(r), recipe=name_of(r), direction=direction_of(r), data=name, **m)


def main():
    from avgen_nb.metrics import read_rows, rows_to_table, write_rows
    p = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    p.add_argument('folder', type=Path, metavar='DIR', help='a folder of folders that are named as instruments')
    p.add_argument('--name', help="what the rows call them (default: after the folder)")
    a = p.parse_args()
    name = a.name or f'{a.folder.resolve().name.capitalize()} recordings'
    rows = list(rows_of(*heard(a.folder), name))
    print(rows_to_table(rows))
    write_rows(RESULTS, [r for r in read_rows(RESULTS) if (r.split, r.data) != ('recordings', name)] + rows, append=False)


if __name__ == '__main__': main()
