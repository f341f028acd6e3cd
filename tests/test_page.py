"The kit of explorer and demo: whatever is shown has words, no label becomes HTML, every frame is where it is looked for."
import io

import numpy as np
import pytest
import torch
from PIL import Image

from avgen_nb import page
from avgen_nb.explorer import film_tiles
from avgen_nb.page import Film, Tile, Verdict, flip_book, gallery_film, judged, still_image, tile_html, tiles_html, touch, verdict_html
from avgen_nb.sound import SAMPLE_RATE, tone
from test_demo import case, frames, parsed, rows
from test_explorer import Tags


def test_whatever_is_seen_or_heard_has_words():
    seen = Tags(tiles_html([Tile('a "quoted" <b>', np.zeros((4, 4, 3), np.uint8), tone(60), note='<i>'), Tile('words')]))
    assert all(a['alt'] for t, a in seen.seen if t == 'img') and all(a['aria-label'] for t, a in seen.seen if t == 'audio')
    assert not {'b"', 'i'} & {t for t, _ in seen.seen}


@pytest.mark.parametrize('tiles', [[], [Tile('words only')], [Tile('silence', None, torch.zeros(SAMPLE_RATE // 2))], [Tile('x' * 200, np.zeros((4, 4, 3), np.uint8))] * 11])
def test_stills_of_anything(tiles): assert Image.open(io.BytesIO(still_image(tiles).data)).format == 'JPEG'


def test_a_film_in_a_notebook():
    frames = np.random.default_rng(0).integers(0, 255, (45, 8, 8, 3), dtype=np.uint8)
    seen = Tags(tile_html(flip_book('a <film>', frames, tone(60, 5.))))
    screen = next(a for t, a in seen.seen if a.get('role') == 'img')
    assert screen['data-frames'] == '45' and screen['data-columns'] == '10' and screen['aria-label'] == 'a <film>'
    assert len(film_tiles(flip_book('x', frames[:1], tone(60)))) == 1 and len(film_tiles(flip_book('x', frames, tone(60)), 3)) == 3


@pytest.mark.parametrize('name', ['film', 'drag', 'record'])
def test_scripts_are_one_attribute(name):
    seen = Tags(f'<p onclick="{touch(name)}">x</p>')
    assert seen.seen[0][1]['onclick'].startswith('(') and seen.seen[0][1]['onclick'].endswith(')(this, event)') and '//' not in seen.seen[0][1]['onclick']


def test_verdicts_are_words_and_signs_not_colour_alone():
    text = page.case_html(case())
    assert 'judged right: </span>✓ double bass, 90%' in text and 'judged wrong: </span>✗ tuba, 60%' in text


def test_figures_come_from_the_rows():
    text = page.table_html([vars(r) for r in rows()])
    assert '0.900 … 0.960' in text and '0.077' in text and '95 % interval' in text and '0.012' in text and text.count('0.432') == 1
    assert text.count('<tbody') == 1 and text.count('<svg') == 1
    assert page.number(None) == '–'
    assert [page.number(x) for x in (.12345, 12.345, 1234.5, '.5', '<a>')] == ['0.123', '12.3', '1,234', '0.500', '&lt;a&gt;']


def test_a_hostile_label_stays_text():
    text = page.case_html(case('<script>alert(1)</script>'))
    assert '<script>' not in text


@pytest.mark.parametrize('n', [1, 9, 10, 11, 60])
def test_every_frame_is_on_its_place_of_the_sheet(n):
    all_frames = frames(n)
    sheet = page.sheet(all_frames)
    for i in range(n):
        y, x = i // 10 * 64, i % 10 * 64
        assert (sheet[y:y + 64, x:x + 64] == all_frames[i]).all()


def test_the_loud_band_is_light_and_high_is_up():
    x = torch.full((1, 1, 128, 44), -1.)
    x[..., 100, :] = 1
    light = page.lms_image(x).astype(int).sum((1, 2))
    assert light.argmax() == 127 - 100


class OnlyTuba:
    classes = ('cello', 'tuba')
    def predict(self, x): return torch.tensor([[.2, .8]]).expand(len(x), 2)


def test_a_verdict_is_right_wrong_or_neither():
    said = judged(OnlyTuba(), torch.zeros(3, 1), ['tuba', 'cello', 'tuba'])
    assert [v.right for v in said] == [True, False, True] and {v.named for v in said} == {'tuba'}
    assert [str(v) for v in said[:2]] == ['✓ judged tuba, 80%', '✗ judged tuba, 80%'] and str(judged(OnlyTuba(), torch.zeros(1, 1))[0]) == 'judged tuba, 80%'
    assert 'class="verdict good"' in verdict_html(said[0]) and 'judged wrong' in verdict_html(said[1]) and verdict_html(None) == ''


def test_what_is_said_of_a_tile():
    assert Tile('x').said == '' and Tile('x', note='n', pitch='C3', verdict=Verdict('tuba', .8, True)).said == 'C3 · ✓ judged tuba, 80% · n'


def test_a_film_of_several_screens_and_tracks_in_both_places():
    both = Film('x', {'a': frames(12), 'b': frames(9)}, {'one': tone(60, 1.2), 'two': tone(62, 1.2)})
    text, shown = gallery_film(both), Tags(tile_html(both))
    assert 'data-frames="9"' in text and text.count('<canvas') == 2 and text.count('<audio') == 2 and parsed(text)
    assert [a['data-frames'] for t, a in shown.seen if a.get('role') == 'img'] == ['12', '9']
    assert len([a for t, a in shown.seen if t == 'audio' and 'querySelectorAll' in a['onplay']]) == 2
