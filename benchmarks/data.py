"The orchestra, the data a step needs, growth, memory and import."
import statistics
import time

import torch

from benchmarks.measure import Row, fresh, seconds, show_time


def orchestra(rounds):
    from avgen_nb.orchestra import build_orchestra
    build_orchestra('small', cache=False, progress=False)
    began = time.perf_counter()
    n = len(build_orchestra('default', cache=False, progress=False)['label'])
    took = time.perf_counter() - began
    return Row('orchestra', f'the orchestra, {n} pairs, drawn and played', f'{n/took:.0f} pairs a second', '500 pairs a second', f'{n/took/500:.1f}×', 'at least 1×', n / took, n / took >= 500)


def prepare(rounds):
    "Frames of 1920×1080 as Sub-URMP has them: 48 of them drawn, each there 20 times under other names."
    import os, tempfile
    from pathlib import Path
    from avgen_nb.orchestra import Plan
    from avgen_nb.store import prepare_store
    from avgen_nb.urmp import Export
    with tempfile.TemporaryDirectory() as folder:
        tree, times = Path(folder)/'tree', []
        for i in (0, 1, 3): Export(Plan('small', 0), str(tree), (1920, 1080))[i]
        for f in list(tree.glob('*/*/*/*.*')):
            song, ms = f.stem.rsplit('_', 1)
            for k in range(1, 20): os.link(f, f.with_name(f'{song}_{int(ms) + 10_000*k}{f.suffix}'))
        for k in range(max(3, rounds)): times.append(seconds(lambda: prepare_store(tree, Path(folder)/f'store{k}', workers=2, progress=False)))
        n = len(list(tree.glob('img/*/*/*')))
    rate = n / statistics.median(times)
    return Row('prepare', f'{n} pairs of 1920×1080 jpg and wav read into a store by 2 processes', f'{rate:.0f} pairs a second', '300 pairs a second', f'{rate/300:.1f}×', 'at least 1×', rate, rate >= 300)


def made_up_pairs(n):
    "Pairs of any size whose content does not matter, made in place."
    from avgen_nb.pairs import Pairs
    label, every = torch.arange(n) % 13, torch.arange(n)
    return Pairs(pictures=torch.zeros(n, 3, 64, 64, dtype=torch.uint8).random_(256), sounds=torch.zeros(n, 1, 128, 44, dtype=torch.float16).uniform_(-1, 1),
                 picture_labels=label, sound_labels=label, songs=every // 56, classes=tuple(f'class{i}' for i in range(13)), picture_of=every, sound_of=every)


def draw_batches(pairs, batches=20, size=64, seed=0):
    "What a training step asks of the data, `batches` times over."
    g = torch.Generator().manual_seed(seed)
    for _ in range(batches):
        index = pairs.draw(size, g)
        pairs.batch(index, g), pairs.batch(pairs.draw_wrong(index, g), g)


def growth(rounds):
    sizes, times = (1_000, 10_000, 100_000), {}
    worlds = {n: made_up_pairs(n) for n in sizes}
    for n in sizes: draw_batches(worlds[n])
    for _ in range(3 * rounds):
        for n in sizes: times.setdefault(n, []).append(seconds(lambda: draw_batches(worlds[n])) / (20 * 64))
    ratio = statistics.median(b / a for a, b in zip(times[sizes[0]], times[sizes[-1]]))
    said = {n: show_time(statistics.median(t)) for n, t in times.items()}
    return Row('growth', 'a pair and its mismatch drawn from 100 000 pairs', said[100_000], f'from 1 000: {said[1_000]}; from 10 000: {said[10_000]}', f'{ratio:.2f}×', 'flat (under 1.5×)', ratio, ratio < 1.5)


MEMORY = '''
import torch
from benchmarks.data import draw_batches, made_up_pairs
from benchmarks.measure import peak_gib
pairs = made_up_pairs(71_230)
print(peak_gib())
from benchmarks.training import game, train
train(game(pairs), 2)
print(peak_gib())
from dataclasses import replace
from avgen_nb.runs import evaluate_run, shipped
model = shipped('S2I-C+guide')
model.meta['opened'] = {}
evaluate_run(model, dict(train=replace(pairs, classes=model.classes)), 'train')
print(peak_gib())
'''

def memory(rounds):
    prepared, trained, scored = map(float, fresh(MEMORY).split())
    said = f'{prepared:.1f} GiB prepared, {trained:.1f} GiB trained, {scored:.1f} GiB evaluated'
    return Row('memory', '71 230 pairs (the size of Sub-URMP), width 64, batch 64', said, '', '', 'under 4, 6 and 6 GiB', scored, prepared < 4 and scored < 6)


def import_time(rounds):
    clock = 'import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)'
    names = dict(torch='torch', package='torch, avgen_nb, avgen_nb.cgan')
    for m in names.values(): fresh(clock.format(m))
    times = {k: [] for k in names}
    for _ in range(max(3, rounds)):
        for k, m in names.items(): times[k].append(float(fresh(clock.format(m))))
    ratio = statistics.median(b / a for a, b in zip(times['torch'], times['package']))
    return Row('import', 'import avgen_nb and its GAN with all it needs', show_time(statistics.median(times['package'])), f'import torch: {show_time(statistics.median(times["torch"]))}', f'{ratio:.2f}×', 'under 1.3×', ratio, ratio < 1.3)
