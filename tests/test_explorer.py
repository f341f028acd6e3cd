"The explorer's callbacks with plain arguments, at the ends of their ranges, with bad files; the widgets that only call them."
import base64, gc, io, json, math, shutil
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile as sf
import torch
from PIL import Image

from avgen_nb import explorer
from avgen_nb.explorer import (GIVEN, HOME, PLAYING, Card, Film, Pose, answer, arc, browse, browse_by, browse_panel, card_html, cards_html, compare, compare_panel,
                               copies_panel, dragged, explore, explore_copies, explore_file, explore_models, explore_pose, explore_trip, explore_upload, explore_walk, faded,
                               film_cards, film_of, fit, handles, heard_pitch, joint_ways, ledger_row, ledger_words, live, model, models_here, moves, nearest, neighbours,
                               note_name, note_panel, panel, play_pair, pose_panel, put, recording, round_trip, rows_of, sheet, show_cards, still, thumbs, touch,
                               trip_panel, update_times, upload_panel, uploads, verdict, verdicts, walk, walk_panel)
from avgen_nb.orchestra import build_orchestra
from avgen_nb.players import INSTRUMENTS, KEYPOINTS, RANGES, Moment, draw_look, keypoints
from avgen_nb.runs import keep_run, load_run, shipped_names
from avgen_nb.sound import SAMPLE_RATE, tone


SHIPPED = ('S2I-C+guide', 'I2S+guide')


@pytest.fixture(scope='module')
def arrays(): return build_orchestra('small', progress=False)


class Tags(HTMLParser):
    "Stops if a tag is closed that was not opened; remembers images, players and their words."
    def __init__(self, text):
        super().__init__()
        self.open, self.seen = [], []
        self.feed(text)
        assert self.open == []
    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in ('img', 'br'): self.open.append(tag)
    def handle_startendtag(self, tag, attrs): self.seen.append((tag, dict(attrs)))
    def handle_endtag(self, tag): assert self.open.pop() == tag


def wav(wave, rate=SAMPLE_RATE):
    sf.write(file := io.BytesIO(), np.asarray(wave), rate, format='WAV', subtype='PCM_16')
    return file.getvalue()

def picture(mode='RGB', kind='PNG', size=(90, 70)):
    Image.new(mode, size).save(file := io.BytesIO(), kind)
    return file.getvalue()


# --- cards

def test_whatever_is_seen_or_heard_has_words():
    page = Tags(cards_html([Card('a "quoted" <b>', np.zeros((4, 4, 3), np.uint8), tone(60), '<i>'), Card('words')]))
    assert all(a['alt'] for t, a in page.seen if t == 'img') and all(a['aria-label'] for t, a in page.seen if t == 'audio')
    assert not {'b"', 'i'} & {t for t, _ in page.seen}


def test_no_colour_is_set_so_both_themes_can_be_read():
    assert 'color' not in cards_html(explore()) + cards_html(explore_walk()[:2])


@pytest.mark.parametrize('cards', [[], [Card('words only')], [Card('silence', None, torch.zeros(SAMPLE_RATE // 2))], [Card('x' * 200, np.zeros((4, 4, 3), np.uint8))] * 11])
def test_stills_of_anything(cards): assert Image.open(io.BytesIO(still(cards).data)).format == 'JPEG'


# --- a note and its player

@pytest.mark.parametrize('name', SHIPPED)
@pytest.mark.parametrize('instrument', INSTRUMENTS)
def test_every_instrument_at_its_ends(name, instrument):
    low, high = RANGES[instrument]
    for pitch, loudness, phase in ((low, 0, 0), (high, 1, 1)):
        given, made, true = explore(name, instrument, pitch, loudness, phase)
        assert 'judged' in made.note + true.note
        for card in (given, made, true):
            if card.wave is not None: assert torch.isfinite(card.wave).all() and card.wave.abs().max() <= 1
            else: assert card.image.shape == (64, 64, 3)


def test_values_out_of_range_are_brought_in():
    far, near = play_pair('tuba', 999, 7, -3), play_pair('tuba', RANGES['tuba'][1], 1, 0)
    assert torch.equal(far.wave, near.wave) and torch.equal(far.picture, near.picture)


@pytest.mark.parametrize('bad, says', [(dict(instrument='kazoo'), 'kazoo'), (dict(pitch=math.nan), 'pitch'), (dict(loudness=math.inf), 'loudness'), (dict(who=-1), 'who')])
def test_play_refuses(bad, says):
    with pytest.raises(ValueError, match=says): play_pair(**bad)


def test_the_same_arguments_give_the_same_cards():
    a, b = explore('I2S+guide', 'horn', 50, z=4), explore('I2S+guide', 'horn', 50, z=4)
    assert torch.equal(a[1].wave, b[1].wave)


def test_what_each_model_is_given_is_all_it_knows():
    image = lambda **k: explore('S2I-C+guide', 'violin', **k)[1].image
    assert (image(phase=.1) == image(phase=.9)).all()
    assert (image(pitch=60) != image(pitch=80)).any()
    wave = lambda **k: explore('I2S+guide', 'violin', **k)[1].wave
    assert not torch.equal(wave(phase=.1), wave(phase=.9)) and not torch.equal(wave(z=0), wave(z=1))


def test_louder_is_louder():
    level = [float(play_pair('oboe', 70, v).wave.std()) for v in (.2, .5, .8)]
    assert level[0] < level[1] < level[2]


@pytest.mark.parametrize('midi, name', [(60, 'C4'), (69.4, 'A4 +40 cents'), (58.9, 'B3 -10 cents'), (61, 'C♯4'), (math.nan, 'no pitch'), (0, 'C-1')])
def test_note_names(midi, name): assert note_name(midi) == name


def test_pitch_is_heard(): assert heard_pitch(tone(52), 'cello') == 'E3' and heard_pitch(torch.zeros(22050)) == 'no pitch'


def test_what_is_made_is_made_of_the_code_and_the_noise():
    for name in SHIPPED:
        run, pair = model(name), play_pair()
        x = getattr(pair, run.source.name)
        assert torch.equal(run.of_code(run.code(x), run.noise(1, 5)), run.make(x, seed=5))


def test_unknown_model():
    with pytest.raises(ValueError, match='S2I-Z'): explore('S2I-Z')


# --- panels

def test_answers_and_refusals():
    assert answer(lambda: 'x') == 'x' and '<figure' in answer(lambda: [Card('x')])
    def refuse(): raise ValueError('<file>: no')
    assert answer(refuse) == '<p role="alert"><b>That does not work:</b> &lt;file&gt;: no</p>'


def test_a_panel_replaces_what_it_showed():
    calls = []
    box = panel(lambda a, b: calls.append((a, b)) or f'{a} {b}', a=(0, 300, 1), b=(0., 1., .5))
    slider, out = box.children[0].children[0], box.children[1]
    for k in range(2, 202): slider.value = k
    assert out.value == '201 0.5' and len(calls) == 201 and len(box.children) == 2


def all_widgets():
    "Every widget that is alive, in ipywidgets 7 and 8."
    from ipywidgets.widgets import widget
    return len(getattr(widget, '_instances', None) or widget.Widget.widgets)


def parts(box): return sum(map(parts, getattr(box, 'children', ())), 1)


@pytest.mark.parametrize('make_panel, control, n', [(note_panel, 'pitch', 200), (pose_panel, 'pitch', 30), (walk_panel, 'z', 10), (trip_panel, 'z', 10), (compare_panel, 'z', 30)])
def test_updates_leave_nothing_behind(make_panel, control, n, monkeypatch):
    import matplotlib.pyplot as plt
    monkeypatch.setattr(explorer, 'lms_to_wave', lambda x, *a, length=22050: x.new_zeros(len(x), length))   # the slow part, not what is tested
    box = make_panel()
    slider, out = box.controls[control], box.children[1]
    def held():
        gc.collect()
        return all_widgets(), parts(box), len(plt.get_fignums()), out.value.count('<figure'), out.value.count('<audio')
    def move(n):
        for k in range(n): slider.value = slider.min + (slider.value - slider.min + 1) % (slider.max - slider.min + 1)
    move(3)
    before, objects = held(), len(gc.get_objects())
    move(n)
    assert held() == before and len(gc.get_objects()) - objects < 100


def test_one_refresh_for_one_change_of_instrument():
    calls = []
    box = panel(lambda **v: calls.append(v) or 'x', follows={'pitch': 'instrument'}, instrument=PLAYING['instrument'], pitch=PLAYING['pitch'])
    box.controls['instrument'].value = 'violin'
    assert len(calls) == 2 and calls[-1] == dict(instrument='violin', pitch=55)
    put(box, instrument='viola', pitch=60)
    assert len(calls) == 3 and calls[-1] == dict(instrument='viola', pitch=60)


def test_play_at_once_starts_one_sound():
    box = panel(lambda a: [Card('x', None, tone(60)), Card('y', None, tone(62))], aloud=True, a=(0, 9, 1))
    assert 'autoplay' not in box.children[1].value
    box.children[0].children[-1].value = True
    box.controls['a'].value = 2
    assert box.children[1].value.count('<audio autoplay') == 1


def test_a_panel_outlives_a_refusal():
    def fussy(a):
        if a == 2: raise ValueError('not two')
        return str(a)
    box = panel(fussy, a=(0, 9, 1))
    slider, out = box.children[0].children[0], box.children[1]
    slider.value = 2
    assert 'not two' in out.value
    slider.value = 3
    assert out.value == '3'


def test_pitch_follows_the_instrument():
    box = panel(lambda instrument, pitch: 'x', follows={'pitch': 'instrument'}, instrument=PLAYING['instrument'], pitch=PLAYING['pitch'])
    instrument, pitch = box.children[0].children
    for name in (*INSTRUMENTS, *reversed(INSTRUMENTS)):
        instrument.value = name
        assert (pitch.min, pitch.max) == RANGES[name] and pitch.min <= pitch.value <= pitch.max


def test_every_panel_opens_and_answers(arrays):
    train = np.flatnonzero(arrays['split'] == 0)
    for box in (note_panel(), note_panel('picture'), pose_panel(), walk_panel(), trip_panel(), trip_panel('picture', 'sound'), compare_panel(), compare_panel('picture'),
                browse_panel(arrays), copies_panel(arrays, train, thumbs(arrays['picture'][train]), 'a scale')):
        out = box.children[1]
        before = out.value
        box.controls['instrument'].value = 'tuba'
        assert 'role="alert"' not in before + out.value and '<figure' in before and out.value != before and Tags(out.value)


def test_no_model_chosen_is_said():
    box = compare_panel()
    box.controls['names'].value = ()
    assert 'there is no model to compare' in box.children[1].value


# --- a hand to drag

@pytest.mark.parametrize('instrument', INSTRUMENTS)
def test_every_joint_goes_where_it_is_put(instrument):
    for joint, control in handles(instrument).items():
        values, at = joint_ways(instrument, joint)[control]
        for k in (0, len(values) // 2, -1):
            moved = dragged(joint, *at[k], instrument, np.mean(RANGES[instrument]))
            assert moved[0] == control and np.linalg.norm(at[list(values.round(2)).index(moved[1])] - at[k]) < .01


def test_drags_far_outside_and_of_what_does_not_move():
    assert RANGES['cello'][0] <= dragged('left_hand', -9, 9)[1] <= RANGES['cello'][1]
    for joint, instrument in (('left_hand', 'tuba'), ('nose', 'cello')):
        with pytest.raises(ValueError, match=joint): dragged(joint, .5, .5, instrument)


def test_rings_are_where_the_joints_are():
    given = explore_pose(instrument='violin', pitch=80, phase=.2)[0]
    at = keypoints('violin', Moment(80, .6, .2), draw_look('violin', 0))[KEYPOINTS.index('left_hand')]
    assert given.joints['left_hand'] == pytest.approx(at)
    page = Tags(card_html(given))
    rings = [a for t, a in page.seen if a.get('data-joint')]
    assert {r['data-joint'] for r in rings} == set(given.joints) and all('closest' in r['onpointerdown'] for r in rings)


def test_a_drag_moves_the_control_once():
    box, shown = pose_panel(), []
    box.children[1].observe(lambda c: shown.append(c), names='value')
    x, y = keypoints('cello', Moment(60, .6, .5), draw_look('cello', 0))[KEYPOINTS.index('left_hand')]
    for k in range(2): box.children[-1].value = f'left_hand {x} {y} {k}'
    assert box.controls['pitch'].value == 60 and len(shown) == 1 and box.children[-1].value == ''


@pytest.mark.parametrize('name', ['film', 'drag', 'record'])
def test_scripts_are_one_attribute(name):
    page = Tags(f'<p onclick="{touch(name)}">x</p>')
    assert page.seen[0][1]['onclick'].startswith('(') and page.seen[0][1]['onclick'].endswith(')(this, event)') and '//' not in page.seen[0][1]['onclick']


def test_controls_say_what_they_are():
    for c in note_panel().children[0].children: assert c.description and c.layout.width


def test_live_or_still(monkeypatch):
    cards = [Card('x', np.zeros((4, 4, 3), np.uint8))]
    monkeypatch.delenv('AVGEN_STILL', raising=False)
    assert live('the widget', cards) == 'the widget'
    monkeypatch.setenv('AVGEN_STILL', '1')
    assert live('the widget', cards).data[:2] == b'\xff\xd8'


# --- files

def test_a_recording_of_any_shape():
    for data in (wav(tone(60, 1.)), wav(tone(60, .06)), wav(np.stack([tone(60, .5)] * 2, 1), 8000)):
        text = explore_upload('a.wav', data)
        assert 'frames, judged' in text and Tags(text)


def test_ten_frames_a_second():
    film = film_of(tone(60, 2.))
    assert len(film.frames) == 16 and film.frames.dtype == np.uint8 and len(film.wave) == 2 * SAMPLE_RATE


def test_a_long_recording_is_cut_and_says_so(monkeypatch):
    monkeypatch.setattr(explorer, 'LONGEST', 1)
    assert 'the first 1 s of 2' in explore_upload('a.wav', wav(tone(60, 2.))) and '6 frames' in explore_upload('a.wav', wav(tone(60, 2.)))


@pytest.mark.parametrize('mode, kind, end', [('RGB', 'PNG', 'png'), ('RGBA', 'PNG', 'png'), ('P', 'PNG', 'png'), ('L', 'JPEG', 'jpg'), ('CMYK', 'JPEG', 'jpeg'), ('I;16', 'PNG', 'PNG')])
def test_a_picture_of_any_mode(mode, kind, end):
    text = explore_upload(f'a.{end}', picture(mode, kind))
    assert '<audio' in text and 'judged' in text and 'role="alert"' not in text


@pytest.mark.parametrize('name, data, says', [
    ('a.wav', b'', 'empty'), ('a.wav', b'RIFF not really', 'cannot be read'), ('a.mp3', b'\0' * 500, 'cannot be read'), ('a.txt', b'la', 'ends in .txt'), ('a', b'la', 'ends in nothing'),
    ('a.wav', wav(tone(60))[:3000], 'cut short'), ('a.wav', wav(np.zeros(22050)), 'silent'), ('a.wav', wav(np.ones(20) * .1), 'give at least'),
    ('a.png', b'', 'not a readable picture'), ('a.png', picture()[:60], 'not a readable picture'), ('a.jpg', b'GIF89a', 'not a readable picture'), ('a.png', picture(size=(3, 90)), 'too few'),
    ('', b'la', 'ends in nothing')])
def test_what_cannot_be_read_is_told_in_one_sentence(name, data, says):
    text = explore_upload(name, data)
    assert text.startswith('<p role="alert">') and says in text and '/tmp' not in text and text.count('. ') == 0


def test_a_name_is_only_a_name(tmp_path):
    text = explore_upload('../../<b>evil</b>.wav', wav(tone(60)))
    assert '<b>evil' not in text and 'frames' in text


def test_a_missing_file():
    with pytest.raises(ValueError, match='no such sound file'): explore_file('nowhere.wav')


def test_uploads_of_both_ipywidgets():
    assert uploads(()) == uploads({}) == []
    assert uploads({'a.png': {'content': b'1'}}) == uploads(({'name': 'a.png', 'content': memoryview(b'1')},)) == [('a.png', b'1')]


def test_the_upload_panel_shows_what_was_given():
    box = upload_panel()
    (button, recorder, hears, sees, z), out, heard = box.children[0].children, *box.children[1:]
    assert all(end in out.value for end in GIVEN) and 'Record</button>' in recorder.value
    if isinstance(button.value, dict): button.set_trait('value', {'a.txt': dict(metadata=dict(name='a.txt'), content=b'x')})   # ipywidgets 7
    else: button.value = ({'name': 'a.txt', 'type': '', 'size': 1, 'content': b'x', 'last_modified': __import__('datetime').datetime(2026, 1, 1)},)
    assert 'ends in .txt' in out.value
    heard.value = base64.b64encode((32767 * tone(60, 1.)).short().numpy().tobytes()).decode()
    assert 'recording.wav, drawn by S2I-C+guide, z 0' in out.value and '6 frames' in out.value and heard.value == ''
    z.value = 3
    assert 'z 3' in out.value


def test_sheets_and_films():
    frames = np.random.default_rng(0).integers(0, 255, (45, 8, 8, 3), dtype=np.uint8)
    whole = sheet(frames)
    assert whole.shape == (24, 160, 3)
    for k in (0, 19, 20, 44): assert (whole[k // 20 * 8:k // 20 * 8 + 8, k % 20 * 8:k % 20 * 8 + 8] == frames[k]).all()
    page = Tags(card_html(Film('a <film>', frames, tone(60, 5.))))
    screen = next(a for t, a in page.seen if a.get('role') == 'img')
    assert screen['data-frames'] == '45' and screen['aria-label'] == 'a <film>'
    assert len(film_cards(Film('x', frames[:1], tone(60)))) == 1 and len(film_cards(Film('x', frames, tone(60)), 3)) == 3


# --- walks and trips

@pytest.mark.parametrize('a, b', [([[1., 0.]], [[0., 1.]]), ([[1., 0.]], [[1., 0.]]), ([[1., 0.]], [[-1., 0.]]), ([[0., 0.]], [[1., 0.]])])
def test_arcs_end_where_they_should(a, b):
    way = arc(torch.tensor(a), torch.tensor(b), 5)
    assert torch.isfinite(way).all() and torch.allclose(way[0], torch.tensor(a[0])) and torch.allclose(way[-1], torch.tensor(b[0]), atol=1e-6)


def test_a_walk_begins_and_ends_at_its_ends():
    run, (a, b) = model('S2I-C+guide'), (play_pair(i).sound for i in ('flute', 'tuba'))
    made = walk(run, a, b, 1, 2, 4)
    assert torch.allclose(made[:1], run.make(a, seed=1), atol=1e-4) and torch.allclose(made[-1:], run.make(b, seed=2), atol=1e-4)


@pytest.mark.parametrize('steps', [1, 0, -3])
def test_too_few_steps(steps):
    with pytest.raises(ValueError, match='at least 2'): explore_walk(steps=steps)


@pytest.mark.parametrize('name', SHIPPED)
def test_a_walk_is_a_film_and_a_strip(name):
    film, *strip = explore_walk(name, 'flute', 76, 'tuba', 40, steps=3)
    assert film.frames.shape == (20, 64, 64, 3) and film.wave.shape == (2 * SAMPLE_RATE,) and film.wave.abs().max() > .01
    assert len(strip) == 3 and (strip[-1].image == film.frames[-1]).all() and 'flute' in strip[0].note and 'tuba' in strip[-1].note


def test_a_walk_of_sounds_ends_on_its_last_note():
    "Between two pictures of one pose there is one steady sound; nothing clicks in the middle."
    film = explore_walk('I2S+guide', 'flute', 76, 'flute', 76)[0]
    level = film.wave.unfold(0, 4410, 4410).std(1)
    assert level[2:-2].min() > .25 * level[2:-2].max()


def test_fading_keeps_power():
    a, b = torch.randn(44100, generator=torch.Generator().manual_seed(0)), torch.randn(44100, generator=torch.Generator().manual_seed(1))
    assert faded(a, b).unfold(0, 4410, 4410).std(1).sub(1).abs().max() < .05


def test_a_trip_goes_there_and_back():
    there, back = model('S2I-C+guide'), model('I2S+guide')
    kinds = [m.name for m, x, judge in round_trip(there, back, play_pair().sound, 2)]
    assert kinds == ['picture', 'sound'] * 2
    assert [c.wave is None for c in explore_trip(times=1)] == [False, True, False]
    assert [c.wave is None for c in explore_trip(times=1, start='I2S+guide', back='S2I-C+guide')] == [True, False, True]


def test_verdicts_say_right_or_wrong_in_signs():
    run = model('S2I-C+guide')
    x = play_pair('cello').picture
    assert verdict(run.jury, x, 'cello') == '✓ judged cello, ' + verdict(run.jury, x).split(', ')[1]
    assert verdict(run.jury, x, 'tuba').startswith('✗ judged')


# --- comparing and browsing

def copy_of(name, to):
    shutil.copytree(HOME/name, to)
    (to/'card.json').unlink()


def test_own_runs_are_found_however_deep(tmp_path):
    copy_of('S2I-C+guide', tmp_path/'mine'); copy_of('I2S+guide', tmp_path/'a/b/picture-sound')
    (tmp_path/'broken').mkdir(); (tmp_path/'broken/model.safetensors').write_bytes(b'no')
    mine = str(tmp_path/'mine')
    assert models_here(places=(tmp_path, 'nowhere'))[-1] == mine and 'broken' not in str(models_here(places=(tmp_path,)))
    assert models_here('picture', places=(tmp_path,))[-1] == str(tmp_path/'a/b/picture-sound')
    assert models_here(places=()) == [n for n in shipped_names() if model(n).source.name == 'sound']
    cards = explore_models(names=['S2I-C+guide', mine])
    assert len(cards) == 4 and (cards[1].image == cards[2].image).all() and 'ceiling' in cards[1].note and 'not scored yet' in cards[2].note


def test_a_run_that_is_trained_anew_is_seen_anew(tmp_path):
    copy_of('S2I-C+guide', tmp_path/'mine')
    name = str(tmp_path/'mine')
    first, again, before = model(name), model(name), explore(name)[1].image
    assert first is again and (before == explore('S2I-C+guide')[1].image).all()
    new = load_run(name)
    with torch.no_grad():
        for p in new.G.parameters(): p.mul_(.5)
    keep_run(name, new)
    assert (explore(name)[1].image != before).any() and explore_models(names=[name])[1].image.std() != before.std()
    shutil.copy(HOME/'I2S+guide/model.safetensors', tmp_path/'mine')   # another direction altogether
    (tmp_path/'mine/judge.safetensors').unlink()
    assert name in models_here('picture', places=(tmp_path,)) and name not in models_here(places=(tmp_path,))


def test_a_run_is_the_same_wherever_it_is_called_from(tmp_path, monkeypatch):
    "Two folders of one name are two runs."
    for place, name in (('a', 'S2I-C+guide'), ('b', 'I2S+guide')):
        copy_of(name, tmp_path/place/'mine')
        monkeypatch.chdir(tmp_path/place)
        assert model('mine').recipe.name == name


def test_ledger_rows_of_own_runs(tmp_path):
    copy_of('S2I-C+guide', tmp_path/'chen/S2I-C+guide/seed-0')
    run, name = model('S2I-C+guide'), str(tmp_path/'chen/S2I-C+guide/seed-0')
    row = dict(system='S2I-C+guide', direction='sound → picture', seed=run.meta['seed'], steps=run.meta['steps'], metric='balanced_accuracy', split='test', value=.5, low=.4, high=.6, ceiling=.9, minutes=3.)
    others = [row | dict(split='train', value=.1), row | dict(seed=9, value=.2), row | dict(system='I2S+guide', value=.3), row | dict(metric='recall', value=.4), row | dict(steps=1, value=.45),
              row | dict(direction='picture → sound', value=.46), row | dict(split='recordings', value=.47)]
    (tmp_path/'chen/rows').mkdir()
    (tmp_path/'chen/rows/table-5.jsonl').write_text('\n'.join(map(json.dumps, [row, *others])) + '\n\n')
    assert ledger_row(name)['value'] == .5 and ledger_words(ledger_row(name)).startswith('right instrument 0.500 [0.400, 0.600] on test songs, one seed, ceiling 0.900')
    (tmp_path/'chen/S2I-C+guide/seed-0/results.jsonl').write_text(json.dumps(row | dict(split='exam', value=.42, songs=78)) + '\n' + json.dumps(row | dict(value=.41)) + '\n')
    assert ledger_row(name)['value'] == .42 and ledger_words(ledger_row(name)).startswith('right instrument 0.420 [0.400, 0.600] on the exam, 78 songs, one seed')


def test_a_file_of_results_that_is_none_is_named(tmp_path):
    copy_of('S2I-C+guide', tmp_path/'mine')
    (tmp_path/'mine/results.jsonl').write_text('{"system": "S2I-C+guide"}\nno row\n')
    said = answer(explore_models, names=[str(tmp_path/'mine')])
    assert said.startswith('<p role="alert">') and 'results.jsonl, line 2' in said


def test_ledger_words_say_no_more_than_the_row():
    bare = dict(value=.5, low=None, high=None, ceiling=None, steps=9, minutes=1., split='exam')
    assert ledger_words(bare) == 'right instrument 0.500 on the exam, one seed, 9 steps, 1 min' and ledger_words(None) == 'not scored yet'


def test_nothing_to_compare():
    with pytest.raises(ValueError, match='no model'): compare({})


def test_rows_are_of_one_song(arrays):
    for song in (0, 5, -1):
        rows = rows_of(arrays, 'sax', 'train', song)
        assert len(set(arrays['song'][rows])) == 1 and (np.diff(arrays['ms'][rows]) == 100).all()
        assert (arrays['split'][rows] == 0).all() and (arrays['label'][rows] == INSTRUMENTS.index('sax')).all()
    assert browse(arrays, 'sax', n=1)[0].image.shape == (64, 64, 3) and len(browse(arrays, n=500)) == len(browse(arrays, pitch=48, n=500))


@pytest.mark.parametrize('bad', [dict(instrument='kazoo'), dict(split='all')])
def test_rows_refuse(arrays, bad):
    with pytest.raises(ValueError, match=next(iter(bad.values()))): rows_of(arrays, **bad)


def test_a_copy_is_found_and_a_stranger_is_not(arrays):
    train, test = (np.flatnonzero(arrays['split'] == k) for k in (0, 2))
    bank = thumbs(arrays['picture'][train])
    d, i = nearest(thumbs(arrays['picture'][train[[3, 40]]]), bank)
    assert d.max() < 1e-3 and (torch.from_numpy(arrays['picture'][train[i[:, 0]]]) == torch.from_numpy(arrays['picture'][train[[3, 40]]])).all()
    assert nearest(thumbs(arrays['picture'][test[::9]]), bank)[0].min() > .02
    made = torch.from_numpy(arrays['picture'][train[[3]]]).float() / 127.5 - 1
    near = neighbours(made, arrays, train, bank)
    assert near[1].caption == 'nearest 1: 0.000' and len({c.note for c in near[1:]}) == 4, 'each of another song'
    far = [float(c.caption.split()[-1]) for c in explore_copies(arrays, train, bank, 'a scale')[1:]]
    assert far == sorted(far) and far[0] > .02
    assert nearest(bank[:1], bank[:2], 9)[0].shape == (1, 2)


def test_browsing_in_words(arrays):
    assert [c.caption for c in browse_by(arrays, order='in time', n=3)] == [c.caption for c in browse(arrays, n=3)]
    assert [c.caption for c in browse_by(arrays, order='nearest in pitch', pitch=50, n=3)] == [c.caption for c in browse(arrays, pitch=50, n=3)]


def test_thumbs_of_sounds(arrays): assert thumbs(arrays['lms'][:3]).shape == (3, 256)


# --- time, and what is saved

@pytest.mark.slow
@pytest.mark.parametrize('name', SHIPPED)
def test_an_update_takes_less_than_150_ms(name):
    values = [dict(name=name, pitch=40 + k % 30, z=k) for k in range(50)]
    answer(explore, **values[0])
    assert np.percentile(update_times(lambda **v: answer(explore, **v), values), 95) < 150


def test_no_widget_is_saved(root):
    for path in (root/'nbs').rglob('*.ipynb'):
        if '.ipynb_checkpoints' in str(path): continue
        nb = json.loads(path.read_text(encoding='utf-8'))
        kinds = {k for c in nb['cells'] for o in c.get('outputs', []) for k in o.get('data', {})}
        assert not any('widget' in k for k in kinds) and 'widgets' not in nb['metadata']
