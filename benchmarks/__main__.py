"""python -m benchmarks [NAME ...] [--rounds N] [--threads N] [--clock wall|cpu] [--out FILE]

Prints a table: ours beside the named peer, both measured in this run on this machine, taking turns.
Then the same as JSON lines, into FILE if one is given.
"""
import argparse, json, sys
from pathlib import Path

import torch

import avgen_nb
from benchmarks import data, explorer, features, measure, training
from benchmarks.measure import device_name

ALL = {'lms-librosa': features.lms_librosa, 'lms-torchaudio': features.lms_torchaudio, 'cqt-librosa': features.cqt_librosa,
       's2i-step': training.s2i_step, 'data-share': training.data_share, 'orchestra': data.orchestra, 'prepare': data.prepare, 'growth': data.growth,
       'memory': data.memory, 'import': data.import_time, 'explorer': explorer.explorer}


def table(rows):
    "The rows as aligned text."
    cells = [('what', 'avgen_nb', 'beside', 'ratio', 'aim', '')] + [(r.what, r.ours, r.peer, r.ratio, r.target, 'met' if r.met else 'MISSED') for r in rows]
    wide = [max(len(c[i]) for c in cells) for i in range(6)]
    return '\n'.join('  '.join(c.ljust(w) for c, w in zip(line, wide)).rstrip() for line in cells)


def main(argv=None):
    p = argparse.ArgumentParser(prog='python -m benchmarks', description='Speed beside named peers, as ratios from one run.')
    p.add_argument('names', nargs='*', metavar='NAME', help=f'which ones; all of them if none is named: {", ".join(ALL)}')
    p.add_argument('--rounds', type=int, default=5, help='turns that ours and the peer take (default 5)')
    p.add_argument('--threads', type=int, help="of torch (default: torch's own choice)")
    p.add_argument('--clock', choices=('wall', 'cpu'), default='wall', help='wall: seconds that pass (default); cpu: seconds this process computes, for a busy machine')
    p.add_argument('--out', type=Path, help='file for the JSON lines (default: printed after the table)')
    args = p.parse_args(argv)
    for n in args.names:
        if n not in ALL: p.error(f'there is no benchmark {n!r}; choose from {", ".join(ALL)}')
    if args.rounds < 1: p.error('--rounds must be 1 or more')
    if args.threads: torch.set_num_threads(args.threads)
    measure.clock = measure.CLOCKS[args.clock]
    device, rows = device_name() + (', CPU seconds' if args.clock == 'cpu' else ''), []
    print(f'{device}, torch {torch.__version__}, avgen_nb {avgen_nb.__version__}', flush=True)
    for n in args.names or ALL:
        found = ALL[n](args.rounds)
        for row in found if isinstance(found, list) else [found]:
            row.device, row.version = device, avgen_nb.__version__
            rows.append(row)
            print(f'{row.what if isinstance(found, list) else n}: {row.ours}; {row.peer}; {row.ratio}', file=sys.stderr, flush=True)
    print(table(rows))
    lines = ''.join(json.dumps(r.as_dict(), ensure_ascii=False) + '\n' for r in rows)
    if args.out: args.out.write_text(lines, encoding='utf-8')
    else: print('\n' + lines, end='')
    return 0


if __name__ == '__main__': sys.exit(main())
