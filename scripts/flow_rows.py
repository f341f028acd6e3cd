"""Rows of lessons 25 and 26: what the package's codecs keep, what each term does, what guidance and steps buy.

    python scripts/flow_rows.py codecs     # docs/codecs.jsonl: test songs; pose and pitch by the probes of lesson 16
    python scripts/flow_rows.py terms      # … and the same net for 300 steps, one term taken away at a time
    python scripts/flow_rows.py flows      # docs/flow.jsonl: development songs, every eighth moment, over guidance and steps; pose and pitch on every third of test
    python scripts/flow_rows.py straight   # … and the same flows, straightened: one, two and four steps
"""
import argparse, time
from dataclasses import replace

import torch
from links import ROOT

CODECS, FLOWS = ROOT/'docs/codecs.jsonl', ROOT/'docs/flow.jsonl'


def world():
    from avgen_nb.pairs import orchestra_pairs
    return orchestra_pairs()


def publish(path, rows):
    "Into the file, in place of what was said of the same thing."
    from avgen_nb.experiments import merged
    from avgen_nb.metrics import read_rows, write_rows
    write_rows(path, merged(read_rows(path) if path.exists() else [], rows), append=False)
    print(f'{len(rows)} rows into {path.relative_to(ROOT)}', flush=True)


def truth_rows(run, splits, **context):
    "Pose or pitch read from what a model makes, beside what is read from the originals."
    from avgen_nb.experiments import thin
    from avgen_nb.probes import probe_for, score_probe
    probe = probe_for(dict(picture='pose', sound='pitch')[run.target.name], splits)
    return score_probe(run, thin(splits['test'], 3), probe, split='test', seeds=1, **context)


def codec_rows(codec, data, split='test', **factors):
    "A codec as a model from its modality to itself."
    from avgen_nb.codec import Reconstruction, notes_kept
    from avgen_nb.judges import judge_for
    from avgen_nb.metrics import Row, heard_pitch
    from avgen_nb.runs import direction_of, name_of, pair_rows
    pairs, m = data[split], codec.modality
    run = Reconstruction(codec, pairs.classes, judge_for(m, data))
    context = dict(system=name_of(run), recipe=name_of(run), direction=direction_of(run), data='orchestra', split=split, n=len(pairs), seeds=1,
                   factors=factors, steps=codec.meta.get('steps'), minutes=codec.meta.get('minutes'))
    rows = pair_rows(run, pairs, context)
    if m.hear is None: return rows
    some = pairs.subset(torch.arange(0, len(pairs), 16))
    real = some.over(lambda batch: batch.sound)
    before, after = (torch.as_tensor(heard_pitch(m.hear(x))) for x in (real, run.make(real)))
    return rows + [Row(metric='notes_kept', value=notes_kept(before, after, some.truth['pitch']), ceiling=1., **context | dict(n=len(some)))]


def codecs(data):
    from avgen_nb.codec import Reconstruction, package_codec
    from avgen_nb.nets import PICTURE, SOUND
    for m in (PICTURE, SOUND):
        codec = package_codec(m)
        run = Reconstruction(codec, data['test'].classes)
        known = truth_rows(run, data, recipe=run.meta['recipe']['name'], system=run.meta['recipe']['name'], data='orchestra',
                           steps=codec.meta['steps'], minutes=codec.meta['minutes'])
        publish(CODECS, codec_rows(codec, data) + [r for r in known if r.data == 'orchestra'])


def terms(data, steps=300):
    from avgen_nb.codec import CODECS as RECIPES, train_codec
    from avgen_nb.experiments import thin
    from avgen_nb.moment import MOMENT, moment_encoder
    from avgen_nb.nets import PICTURE, Encoder
    from avgen_nb.runs import changed
    from ship_flows import EYE
    eye, _ = moment_encoder(PICTURE, data['train'], changed(MOMENT, plan=EYE), net=Encoder, steps=400)
    full = replace(RECIPES['picture'], width=16, critic_from=.5)
    less = {'nothing': {}, 'slopes': dict(slope=0.), 'what is seen': dict(seen=0.), 'the discriminator': dict(critic=0.), 'half of the numbers': dict(code=8)}
    for name, change in less.items():
        codec, run = train_codec(replace(full, **change), data['train'], eye, steps=steps, quiet=True)
        codec.meta = dict(steps=run.steps, minutes=round(run.minutes, 1))
        publish(CODECS, codec_rows(codec, dict(data, dev=thin(data['dev'], 4)), 'dev', without=name))


def flow_points(run, data, **how):
    "Accuracy and variety on development songs of one way to walk."
    from avgen_nb.runs import direction_of, name_of, pair_rows
    from avgen_nb.experiments import thin
    dev = thin(data['dev'], 8)
    class Walked:   # the same model, walking otherwise
        source, target, classes, meta, jury, noise = run.source, run.target, run.classes, run.meta, run.jury, staticmethod(run.noise)
        make = staticmethod(lambda given, seed=0, z=None: run.make(given, seed, z=z, **how))
    began = time.process_time()
    context = dict(system=name_of(run), recipe=name_of(run), direction=direction_of(run), data='orchestra', split='dev', n=len(dev), seeds=1,
                   steps=run.meta['steps'], minutes=run.meta['minutes'])
    rows = pair_rows(Walked, dev, context)
    print(name_of(run), how, [(r.metric, round(r.value, 3)) for r in rows[:1] + [r for r in rows if r.metric in ('precision', 'recall')]],
          f'{time.process_time() - began:.0f} s', flush=True)
    return rows


STRINGS = ('violin', 'viola', 'cello', 'double_bass')

def heard_rows(run, data, **context):
    "Of made sounds: how many notes of strings are within a semitone (ceiling: what true keypoints tell), and the median periodicity."
    from avgen_nb.experiments import thin
    from avgen_nb.metrics import Row, periodicity
    from avgen_nb.moment import notes_in_keypoints
    from avgen_nb.probes import probe_for, shuffled, where_known
    test = where_known(thin(data['test'], 3), 'pitch')
    made, real = run.make(test.over(lambda batch: batch.picture)), test.over(lambda batch: batch.sound)
    told, true = notes_in_keypoints(data['train'], test), test.truth['pitch'].float()
    near = ((probe_for('pitch', data).read(made) - true).abs() <= 1).float()
    blind = ((true[shuffled(test.labels)] - true).abs() <= 1).float()
    context = dict(context, split='test', seeds=1, **{k: run.meta[k] for k in ('seed', 'steps', 'minutes')})
    rows = []
    for name in STRINGS:
        of = test.labels == test.classes.index(name)
        rows.append(Row(metric='notes_within_semitone', value=near[of].mean().item(), ceiling=told[name], chance=blind[of].mean().item(),
                        n=int(of.sum()), data=f'orchestra/{name}', **context))
    value, ceiling = (periodicity(run.target.hear(x)).median().item() for x in (made, real))
    return rows + [Row(metric='periodicity_median', value=value, ceiling=ceiling, n=len(test), data='orchestra', **context)]


def flows(data, names=()):
    from avgen_nb.flow import FLOWS as RECIPES
    from avgen_nb.judges import judge_for
    from avgen_nb.runs import shipped
    for name in names or RECIPES:
        run = shipped(name)
        run.jury, rows = judge_for(run.target, data), []
        for w in (1., 1.5, 2., 3.): rows += [replace(r, factors=dict(varied='guide', guide=w)) for r in flow_points(run, data, guide=w)]
        for n in (1, 2, 4, 8, 16): rows += [replace(r, factors=dict(varied='walk', walk=n)) for r in flow_points(run, data, steps=n)]
        if run.target.name == 'sound': rows += heard_rows(run, data, system=name, recipe=name, direction='picture → sound')
        publish(FLOWS, rows + truth_rows(run, data, system=name, recipe=name))


def straight(data, names=()):
    from avgen_nb.flow import FLOWS as RECIPES, straighten
    from avgen_nb.judges import judge_for
    from avgen_nb.runs import shipped
    for name in names or RECIPES:
        run = straighten(shipped(name), data['train'], quiet=True)
        run.jury = judge_for(run.target, data)
        rows = [replace(r, factors=dict(walk=n)) for n in (1, 2, 4) for r in flow_points(run, data, steps=n)]
        publish(FLOWS, rows)


def main():
    p = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    p.add_argument('what', choices=('codecs', 'terms', 'flows', 'straight'))
    p.add_argument('names', nargs='*', help='of flows; none: all')
    a = p.parse_args()
    globals()[a.what](world(), *([a.names] if a.what in ('flows', 'straight') else []))


if __name__ == '__main__': main()
