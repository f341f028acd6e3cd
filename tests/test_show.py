"Pictures keep their values, players play, pages stay small, and curves work with and without a notebook."
import base64, io, math, re, sys

import matplotlib
matplotlib.use('Agg')
import numpy as np
import pytest
import soundfile as sf
import torch
from PIL import Image

from avgen_nb import show
from avgen_nb.show import (Curve, encode_audio, paint, player, show_maps, show_pairs, show_pictures, show_sound,
                           show_sounds, spectrogram, to_uint8)


def beep(hz=440, seconds=.5): return .5 * torch.sin(2 * math.pi * hz * torch.arange(int(44_100 * seconds)) / 44_100)


def parts(block, kind):
    "The bytes of every data address of one kind in a block of HTML."
    return [base64.b64decode(b) for b in re.findall(rf'data:{kind};base64,([^"]+)"', block.data)]


def test_to_uint8_of_floats_bytes_arrays_and_halves():
    x = torch.rand(3, 3, 5, 7) * 2 - 1
    assert to_uint8(x).shape == (3, 5, 7, 3) and to_uint8(x).dtype == np.uint8
    assert np.array_equal(to_uint8(x), to_uint8(x.numpy()))
    assert np.abs(to_uint8(x).astype(float) / 127.5 - 1 - x.permute(0, 2, 3, 1).numpy()).max() < .005
    raw = torch.randint(256, (2, 3, 4, 4), dtype=torch.uint8)
    assert np.array_equal(to_uint8(raw), raw.permute(0, 2, 3, 1).numpy())
    assert np.array_equal(to_uint8((raw.float() / 127.5 - 1).to(memory_format=torch.channels_last)), to_uint8(raw))
    assert to_uint8(torch.full((1, 3, 1, 1), 9.).requires_grad_()).max() == 255


def test_an_mp3_note_is_small_whole_and_close():
    wave = beep()
    data = encode_audio(wave)
    assert len(data) < 10_000 and len(encode_audio(torch.randn(22_050) * .2)) < 15_000
    back, rate = sf.read(io.BytesIO(data), dtype='float32')
    assert rate == 44_100 and abs(len(back) - len(wave)) < 1200
    assert np.abs(back[5000:15_000] - wave.numpy()[5000:15_000]).max() < .05


def test_encode_audio_without_mp3_falls_back_to_ogg(monkeypatch):
    write = sf.write
    def no_mp3(out, data, sr, **how):
        if how['format'] == 'MP3': raise TypeError('unexpected keyword')
        return write(out, data, sr, **how)
    monkeypatch.setattr(sf, 'write', no_mp3)
    assert encode_audio(beep())[:4] == b'OggS' and 'audio/ogg' in player(beep()).data


@pytest.mark.parametrize('wave', (torch.zeros(22_050), torch.full((22_050,), 5.), torch.full((22_050,), torch.nan), beep(seconds=.02), beep(seconds=8)))
def test_any_wave_can_be_shown(wave):
    block = show_sound(wave, 'x')
    (png,), (mp3,) = parts(block, 'image/png'), parts(block, 'audio/(?:mpeg|ogg)')
    assert Image.open(io.BytesIO(png)).size[1] == 128 and len(mp3) > 100


def test_labels_cannot_break_the_page():
    for block in (player(beep(), '<b>"&'), show_sounds([beep()], ['<b>"&'])):
        assert '<b>' not in block.data and '&lt;b&gt;' in block.data


def test_grids_hold_everything_and_stay_small():
    waves, pictures = [beep(200 + 50 * i) for i in range(8)], torch.rand(8, 3, 64, 64) * 2 - 1
    sounds, pairs = show_sounds(waves, list('abcdefgh'), cols=3), show_pairs(pictures, waves, range(8))
    assert sounds.data.count('<audio') == 8 and pairs.data.count('<img') == 16
    assert len(sounds.data) < 8 * 20_000 and 'repeat(3,' in sounds.data
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(parts(pairs, 'image/png')[0]))), to_uint8(pictures)[0])
    assert show_sounds(torch.stack(waves)).data.count('<audio') == 8


def test_maps_replace_spectrograms():
    block = show_sounds([beep()] * 2, maps=[torch.rand(20, 44), torch.rand(84, 44)])
    assert [Image.open(io.BytesIO(p)).size for p in parts(block, 'image/png')] == [(44, 20), (44, 84)]


def test_paint_turns_the_map_over():
    painted = paint(torch.tensor([[1., 1.], [0., 0.]]))
    assert painted[1].sum() > painted[0].sum() and paint(torch.zeros(3, 4)).shape == (3, 4, 3)
    assert np.array_equal(paint(np.array([[0., 1]]), 0, 2), paint(np.array([[0., 1, 2]]))[:, :2])


@pytest.mark.parametrize('sr', (8000, 44_100, 192_000))
def test_spectrogram_finds_a_tone(sr):
    wave = torch.sin(2 * math.pi * 1000 * torch.arange(sr) / sr)
    top = min(16_000, .49 * sr)
    row = 127 * math.log(1000 / 50) / math.log(top / 50)
    s = spectrogram(wave, sr)
    assert abs(int(s[:, s.shape[1] // 2].argmax()) - row) < 3 and abs(float(s.max())) < 3


def test_curve_in_a_terminal(capsys):
    curve = Curve(every=0)
    for i in range(3): curve.add(i, loss=torch.tensor(1. / (i + 1)), other=i)
    assert capsys.readouterr().out.splitlines()[-1] == 'step 2  loss 0.3333  other 2'
    quiet = Curve(every=1e9)
    for i in range(5): quiet.add(i, loss=0)
    assert len(capsys.readouterr().out.splitlines()) == 1 and len(quiet.rows) == 5
    Curve().show()


def test_curve_draws_what_was_added():
    curve = Curve(['a', 'b'], every=1e9)
    curve.add(0, a=1)
    curve.add(10, a=2, b=5)
    lines = {l.get_label(): l.get_xydata() for l in curve.figure().axes[0].lines}
    assert set(lines) == {'a', 'b'} and np.array_equal(lines['a'], [[0, 1], [10, 2]]) and np.isnan(lines['b'][0, 1])


def test_curve_updates_one_display_in_a_notebook(monkeypatch):
    calls = []
    class Handle:
        def update(self, figure): calls.append('update')
    monkeypatch.setattr(show, 'in_notebook', lambda: True)
    import IPython.display
    monkeypatch.setattr(IPython.display, 'display', lambda figure, display_id: calls.append('display') or Handle())
    curve = Curve(every=0)
    for i in range(3): curve.add(i, loss=i)
    assert calls == ['display', 'update', 'update']


def test_pictures_and_maps_draw_odd_numbers(monkeypatch):
    import matplotlib.pyplot as plt
    monkeypatch.setattr(plt, 'show', lambda: None)
    for n in (1, 7, 9): show_pictures(torch.zeros(n, 3, 8, 8), [str(i) for i in range(n)], cols=4, title='t')
    show_maps([torch.rand(4, 5)] * 4, list('abcd'))
    assert len(plt.gcf().axes) == 6
    plt.close('all')


def test_import_is_light():
    import subprocess
    code = "import sys, avgen_nb.show, avgen_nb.sound; print([m for m in ('matplotlib', 'librosa', 'scipy', 'torchaudio', 'IPython', 'soundfile') if m in sys.modules])"
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == '[]'


def test_a_diagram_has_every_box_and_every_arrow_once(monkeypatch):
    shown = []
    monkeypatch.setattr(show, 'show_figure', shown.append)
    boxes = dict(a=(0, 0, 'from', 'sound'), b=(1, 0, 'net', 'net'), c=(2, 1, 'to', 'words'))
    show.show_diagram(boxes, ['a b c', 'a b'], [('c', 'a', .3)])
    texts = shown[0].axes[0].texts
    assert [t.get_text() for t in texts] == ['from', 'net', 'to', '', '', '']
    assert [t.get_position() for t in texts[3:]] == [(0, 0), (1, 0), (2, 1)], 'b → c leaves from b'
    assert shown[0].get_facecolor() == (1, 1, 1, 1), 'dark words on white, whatever the theme'
    with pytest.raises(ValueError, match="no box 'd'"): show.show_diagram(boxes, ['a d'])
    assert len(shown) == 1
