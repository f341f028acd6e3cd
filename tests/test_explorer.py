"The explorer's callbacks with plain arguments, at the ends of their ranges, with bad files; the widgets that only call them."
import base64, io, json, math, shutil
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile as sf
import torch
from PIL import Image

from avgen_nb import explorer
from avgen_nb.explorer import (GIVEN, HOME, PLAYING, dragged, explore, explore_file, explore_pose, explore_upload, film_of,
                               handles, joint_ways, live, note_name, note_panel, open_model, panel, pitch_name, play_pair, pose_panel, put, reply,
                               update_times, upload_panel, uploads, verdict)
from avgen_nb.orchestra import build_orchestra
from avgen_nb.page import Tile, tile_html
from avgen_nb.players import INSTRUMENTS, KEYPOINTS, Moment, RANGES, draw_look, keypoints
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


# --- a note and its player

@pytest.mark.parametrize('name', SHIPPED)
@pytest.mark.parametrize('instrument', INSTRUMENTS)
def test_every_instrument_at_its_ends(name, instrument):
    low, high = RANGES[instrument]
    for pitch, loudness, phase in ((low, 0, 0), (high, 1, 1)):
        given, made, true = explore(name, instrument, pitch, loudness, phase)
        assert 'judged' in made.said and 'judged' in true.said
        for tile in (given, made, true):
            if tile.wave is not None: assert torch.isfinite(tile.wave).all() and tile.wave.abs().max() <= 1
            else: assert tile.image.shape == (64, 64, 3)


def test_values_out_of_range_are_brought_in():
    far, near = play_pair('tuba', 999, 7, -3), play_pair('tuba', RANGES['tuba'][1], 1, 0)
    assert torch.equal(far.wave, near.wave) and torch.equal(far.picture, near.picture)


@pytest.mark.parametrize('bad, says', [(dict(instrument='kazoo'), 'kazoo'), (dict(pitch=math.nan), 'pitch'), (dict(loudness=math.inf), 'loudness'), (dict(who=-1), 'who')])
def test_play_refuses(bad, says):
    with pytest.raises(ValueError, match=says): play_pair(**bad)


def test_the_same_arguments_give_the_same_tiles():
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


def test_pitch_is_heard(): assert pitch_name(tone(52), 'cello') == 'E3' and pitch_name(torch.zeros(22050)) == 'no pitch'


def test_what_is_made_is_made_of_the_code_and_the_noise():
    for name in SHIPPED:
        run, pair = open_model(name), play_pair()
        x = getattr(pair, run.source.name)
        assert torch.equal(run.of_code(run.code(x), run.noise(1, 5)), run.make(x, seed=5))


def test_unknown_model():
    with pytest.raises(ValueError, match='S2I-Z'): explore('S2I-Z')


# --- panels

def test_answers_and_refusals():
    assert reply(lambda: 'x') == 'x' and '<figure' in reply(lambda: [Tile('x')])
    def refuse(): raise ValueError('<file>: no')
    assert reply(refuse) == '<p role="alert"><b>That does not work:</b> &lt;file&gt;: no</p>'


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


def test_one_refresh_for_one_change_of_instrument():
    calls = []
    box = panel(lambda **v: calls.append(v) or 'x', follows={'pitch': 'instrument'}, instrument=PLAYING['instrument'], pitch=PLAYING['pitch'])
    box.controls['instrument'].value = 'violin'
    assert len(calls) == 2 and calls[-1] == dict(instrument='violin', pitch=55)
    put(box, instrument='viola', pitch=60)
    assert len(calls) == 3 and calls[-1] == dict(instrument='viola', pitch=60)


def test_play_at_once_starts_one_sound():
    box = panel(lambda a: [Tile('x', None, tone(60)), Tile('y', None, tone(62))], aloud=True, a=(0, 9, 1))
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
    page = Tags(tile_html(given))
    rings = [a for t, a in page.seen if a.get('data-joint')]
    assert {r['data-joint'] for r in rings} == set(given.joints) and all('closest' in r['onpointerdown'] for r in rings)


def test_a_drag_moves_the_control_once():
    box, shown = pose_panel(), []
    box.children[1].observe(lambda c: shown.append(c), names='value')
    x, y = keypoints('cello', Moment(60, .6, .5), draw_look('cello', 0))[KEYPOINTS.index('left_hand')]
    for k in range(2): box.children[-1].value = f'left_hand {x} {y} {k}'
    assert box.controls['pitch'].value == 60 and len(shown) == 1 and box.children[-1].value == ''


def test_controls_say_what_they_are():
    for c in note_panel().children[0].children: assert c.description and c.layout.width


def test_live_or_still(monkeypatch):
    tiles = [Tile('x', np.zeros((4, 4, 3), np.uint8))]
    monkeypatch.delenv('AVGEN_STILL', raising=False)
    assert live('the widget', tiles) == 'the widget'
    monkeypatch.setenv('AVGEN_STILL', '1')
    assert live('the widget', tiles).data[:2] == b'\xff\xd8'


# --- files

def test_a_recording_of_any_shape():
    for data in (wav(tone(60, 1.)), wav(tone(60, .06)), wav(np.stack([tone(60, .5)] * 2, 1), 8000)):
        text = explore_upload('a.wav', data)
        assert 'frames, judged' in text and Tags(text)


def test_ten_frames_a_second():
    film = film_of(tone(60, 2.))
    assert len(film.frames) == 16 and film.frames.dtype == np.uint8 and len(film.wave) == 2 * SAMPLE_RATE


def test_a_long_recording_is_cut_and_says_so(monkeypatch):
    monkeypatch.setattr(explorer, 'MOST_SECONDS', 1)
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


def test_a_verdict_says_right_or_wrong_in_signs():
    run = open_model('S2I-C+guide')
    x = play_pair('cello').picture
    assert str(verdict(run.jury, x, 'cello')) == f'✓ {verdict(run.jury, x)}' and str(verdict(run.jury, x)).startswith('judged cello, ')
    assert str(verdict(run.jury, x, 'tuba')).startswith('✗ judged') and verdict(run.jury, x).right is None


# --- runs of one's own

def copy_of(name, to):
    shutil.copytree(HOME/name, to)
    (to/'card.json').unlink()


def test_a_run_is_the_same_wherever_it_is_called_from(tmp_path, monkeypatch):
    "Two folders of one name are two runs."
    for place, name in (('a', 'S2I-C+guide'), ('b', 'I2S+guide')):
        copy_of(name, tmp_path/place/'mine')
        monkeypatch.chdir(tmp_path/place)
        assert open_model('mine').recipe.name == name


# --- time, and what is saved

@pytest.mark.slow
@pytest.mark.parametrize('name', SHIPPED)
def test_an_update_takes_less_than_150_ms(name):
    values = [dict(name=name, pitch=40 + k % 30, z=k) for k in range(50)]
    reply(explore, **values[0])
    assert np.percentile(update_times(lambda **v: reply(explore, **v), values), 95) < 150


def test_no_widget_is_saved(root):
    for path in (root/'nbs').rglob('*.ipynb'):
        if '.ipynb_checkpoints' in str(path): continue
        nb = json.loads(path.read_text(encoding='utf-8'))
        kinds = {k for c in nb['cells'] for o in c.get('outputs', []) for k in o.get('data', {})}
        assert not any('widget' in k for k in kinds) and 'widgets' not in nb['metadata']
