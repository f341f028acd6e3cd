"One update of each panel of the explorer: what a person waits for after moving a control."
import io

import numpy as np

from benchmarks import measure
from benchmarks.measure import Row, show_time

AIM = .150
UPDATES = 40   # of each panel, times the rounds: 200


def panels():
    "name → the function of one update, and what its controls can be."
    from avgen_nb import beside as b, explorer as e
    from avgen_nb.orchestra import build_orchestra
    arrays = build_orchestra('default', progress=False)
    train = np.flatnonzero(arrays['split'] == 0)
    bank = b.thumbs(arrays['picture'][train])
    note = {k: e.PLAYING[k] for k in ('instrument', 'pitch', 'z', 'who')}
    to, sounds, pictures = dict(to_instrument=note['instrument'], to_pitch=(30, 93, 60), to_z=note['z'], steps=(2, 12, 8)), e.models_here('sound', ()), e.models_here('picture', ())
    wav = io.BytesIO()
    import soundfile as sf
    sf.write(wav, b.long_wave('cello', 48, 0).numpy(), 44100, format='WAV')
    with_arrays = lambda f, **more: lambda **v: f(arrays, **more, **v)
    return {'play a note': (e.explore, dict(name=sounds) | e.PLAYING),
            'see a player': (e.explore_pose, dict(name=pictures) | e.PLAYING),
            'drag a hand': (lambda y, **v: e.explore_pose(**v | dict([e.dragged('left_hand', .5, y, v['instrument'], v['pitch'], v['loudness'], v['phase'], v['who'])])),
                            dict(y=(0., 1., .5), name=pictures) | e.PLAYING | dict(instrument=['cello', 'double_bass', 'viola', 'violin'])),
            'walk, sounds given': (b.explore_walk, dict(name=sounds) | note | to),
            'walk, pictures given': (b.explore_walk, dict(name=pictures) | note | to),
            'round trip': (b.explore_trip, dict(start=sounds, back=pictures, times=(1, 3, 2)) | note),
            'compare, sounds given': (lambda **v: b.explore_models('sound', names=sounds, **v), note),
            'compare, pictures given': (lambda **v: b.explore_models('picture', names=pictures, **v), note),
            'bring your own, 2 s of sound': (lambda **v: e.explore_upload('mine.wav', wav.getvalue(), **v), dict(name=sounds, z=note['z'])),
            'browse': (with_arrays(b.browse_by), dict(instrument=note['instrument'], split=list(b.SPLITS), song=(0, 23, 0), order=['in time', 'nearest in pitch'], pitch=(30, 93, 60), n=(1, 8, 6))),
            'did it copy': (with_arrays(b.explore_copies, rows=train, bank=bank), dict(name=sounds, k=(1, 6, 4)) | note)}


def explorer(rounds):
    "A row for each panel: p95 of its updates, all controls drawn at random between their ends."
    from avgen_nb.explorer import moves, reply, update_times
    rows = []
    for name, (f, choices) in panels().items():
        said = [reply(f, **v) for v in moves(choices, 3, seed=1)]
        if any('role="alert"' in s for s in said): raise RuntimeError(f'{name}: {said[0][:200]}')
        p95 = float(np.percentile(update_times(lambda **v: reply(f, **v), moves(choices, UPDATES * rounds), measure.clock), 95)) / 1000
        rows.append(Row('explorer', f'explorer, one update: {name}', f'p95 {show_time(p95)}', show_time(AIM), f'{AIM/p95:.1f}×', 'at least 1×', p95, p95 <= AIM))
    return rows
