"People as judges: blinding, a file that survives anything, sittings, widget."
import os, subprocess, sys
from pathlib import Path

import pytest
import torch

from avgen_nb import rating
from avgen_nb.rating import (HEADER, SCORES, about, answer, append_rating, blind, csv_line, current, in_blocks,
                             item_html, mend, parse_rating, press, progress, rate, rate_in_text, rating_items, read_ratings, show_item,
                             sit_down)
from raters import ASKED, QUALITY, a_rating, some_items, systems

ROOT = Path(__file__).resolve().parent.parent


class Clock:
    "A clock that a test turns."
    now = 0.
    def __call__(self): return self.now


# --- blinding

def test_blind_is_fair_and_repeatable():
    items = blind(systems(), seed=3, per_system=12, rater='ada')
    counts = {(s, a): sum(i.system == s and i.asked == a for i in items) for s in QUALITY for a in set(ASKED)}
    assert set(counts.values()) == {4}
    assert [i.name for i in items] == [i.name for i in blind(systems(), 3, 12, 'ada')]
    assert {i.name for i in items} == {i.name for i in blind(systems(), 3, 12, 'bob')}
    assert {i.name for i in items} != {i.name for i in blind(systems(), 4, 12, 'ada')}
    assert len({i.name for i in items}) == 48


def test_instruments_are_asked_alike_even_when_there_are_few_places():
    items = blind(systems(), seed=0, per_system=2)
    asked = {s: sorted(i.asked for i in items if i.system == s) for s in QUALITY}
    assert len(set(map(tuple, asked.values()))) == 1 and len(set(asked['good'])) == 2


def test_order_tells_no_system():
    "Over many raters each system stands as often in the first half as in the second."
    first = [i.system for r in range(100) for i in blind(systems(6), 0, None, f'rater {r}')[:12]]
    for s in QUALITY: assert abs(first.count(s) / len(first) - .25) < .04


def test_each_system_gives_as_many_as_the_shortest():
    lists = systems() | {'good': some_items('good', 7)}
    assert [sum(i.system == s for i in blind(lists)) for s in QUALITY] == [7] * 4


@pytest.mark.parametrize('change, says', [(dict(per_system=31), 'per_system is 31'), (dict(per_system=0), 'per_system is 0'), (dict(reference='truth'), "'truth' is not among")])
def test_blind_refuses(change, says):
    with pytest.raises(ValueError, match=says): blind(systems(), **change)


def test_without_ground_truth_only_on_purpose():
    lists = {'good': some_items('good')}
    with pytest.raises(ValueError, match='ground truth'): blind(lists)
    assert len(blind(lists, reference=None)) == 30


def test_nothing_shown_tells_the_system():
    item = rating_items('secret', ['double_bass <b>'], torch.zeros(1, 3, 8, 8), torch.zeros(1, 4410))[0]
    page = item_html(item)
    assert 'secret' not in repr(item) + page and item.name not in page
    assert 'double bass &lt;b&gt;' in page and '<audio' in page and 'base64' in page
    assert item_html(None) == ''


def test_names_follow_contents():
    a, b = some_items('s'), some_items('s', seed=1)
    assert [i.name for i in a] == [i.name for i in some_items('s')]
    assert not {i.name for i in a} & {i.name for i in b} and not {i.name for i in a} & {i.name for i in some_items('t')}
    same = rating_items('s', ['tuba'] * 3, torch.zeros(3, 3, 8, 8))
    assert len({i.name for i in same}) == 3, 'twice the same picture is two items'


def test_items_of_sounds_only_and_bad_items():
    assert rating_items('s', ['tuba'], waves=torch.zeros(1, 100))[0].picture is None
    with pytest.raises(ValueError, match='nothing to rate'): rating_items('s', ['tuba'])
    with pytest.raises(ValueError, match='one instrument name'): rating_items('s', ['tuba'], torch.zeros(2, 3, 8, 8))
    with pytest.raises(ValueError, match='one instrument name'): rating_items('s', ['tuba', 'sax'], torch.zeros(2, 3, 8, 8), torch.zeros(1, 100))


# --- the file

@pytest.mark.parametrize('rater', ['ada', 'Ada, Countess of "L"', "O'Hara; x", 'Ünal 工', '=1+1'])
def test_lines_come_back(rater, tmp_path):
    r = a_rating(rater=rater, seconds=.25)
    append_rating(tmp_path/'r.csv', r)
    assert read_ratings(tmp_path/'r.csv') == [r]


def test_line_breaks_are_refused(tmp_path):
    with pytest.raises(ValueError, match='line break'): append_rating(tmp_path/'r.csv', a_rating(rater='a\nb'))


@pytest.mark.parametrize('line', ['', ',,,', 'a,b,c,d,4,1.0,2026-01-31T12:00:00Z', 'a,b,c,d,12,1.0,2026-01-31T12:00:00Z', 'a,b,c,d,,1.0,2026-01-31T12:00:00Z',
                                  'a,b,c,d,2,x,2026-01-31T12:00:00Z', 'a,b,c,d,2,1.0,2026-01-31T12:00:0', '"a,b,c', '\0' * 40, 'a,b,c,d,2,1.0,2026-13-31T12:00:00Z',
                                  'a,b,c,d,2,1.0,2026-01-31T12:00:00Z,more', 'a,b,c,d,01,1.0,2026-01-31T12:00:00Z'])
def test_what_is_no_rating(line): assert parse_rating(line) is None


def test_cut_anywhere(tmp_path):
    "Whatever byte the crash came at: no answer before it is lost, none is made up, and the next one is kept."
    path = tmp_path/'r.csv'
    for i in range(3): append_rating(path, a_rating(f'item {i}', i, rater='工, "x"'))
    whole = path.read_bytes()
    for n in range(len(whole) + 1):
        path.write_bytes(whole[:n])
        kept = max(0, (whole[:n] + (b'\n' if whole[n:n + 1] == b'\n' else b'')).count(b'\n') - 1)   # a line that lacks only its end is whole
        said = mend(path)
        append_rating(path, a_rating('new', 1))
        assert [r.item for r in read_ratings(path, report=pytest.fail)] == [f'item {i}' for i in range(kept)] + ['new'], n
        in_line = whole[:n].rpartition(b'\n')[2]
        assert bool(said) == bool(in_line and whole[n:n + 1] != b'\n') and (not said or f'answers kept: {kept}.' in said), n


def test_zeros_at_the_end_are_a_damaged_line(tmp_path):
    path = tmp_path/'r.csv'
    append_rating(path, a_rating())
    path.write_bytes(path.read_bytes() + b'\0' * 4096)
    said = []
    assert read_ratings(path, report=said.append) == [a_rating()] and len(said) == 1
    assert mend(path) and not mend(path)
    assert read_ratings(path, report=pytest.fail) == [a_rating()]


def test_reading_writes_nothing(tmp_path):
    path = tmp_path/'r.csv'
    append_rating(path, a_rating())
    path.write_bytes(raw := path.read_bytes()[:-5])
    assert read_ratings(path, report=lambda s: None) == [] and path.read_bytes() == raw


def test_damage_in_the_middle_stops_with_the_line(tmp_path):
    path = tmp_path/'r.csv'
    path.write_text(HEADER + csv_line(a_rating()) + 'broken\n' + csv_line(a_rating('b')))
    with pytest.raises(ValueError, match='line 3'): read_ratings(path)


def test_a_stranger_file_is_left_alone(tmp_path):
    path = tmp_path/'notes.txt'
    path.write_text(text := 'dear diary,\nno newline at the end')
    for f in (mend, read_ratings, lambda p: append_rating(p, a_rating()), lambda p: sit_down(some_items('s'), 'ada', p)):
        with pytest.raises(ValueError, match='no file of ratings'): f(path)
    assert path.read_text() == text
    with pytest.raises(ValueError, match='not there'): read_ratings(tmp_path/'none.csv')


def test_a_spreadsheet_may_have_touched_it(tmp_path):
    path = tmp_path/'r.csv'
    for s in 'ab': append_rating(path, a_rating(s))
    path.write_bytes(b'\xef\xbb\xbf' + path.read_bytes().replace(b'\n', b'\r\n').rstrip())   # mark, CRLF, no end of line
    append_rating(path, a_rating('c'))
    assert [r.item for r in read_ratings(path, report=pytest.fail)] == ['a', 'b', 'c']


def test_last_answer_counts_and_raters_are_apart(tmp_path):
    a, b = tmp_path/'a.csv', tmp_path/'b.csv'
    for s in (3, 0, 1): append_rating(a, a_rating(score=s))
    append_rating(a, a_rating(rater='bob', score=3))
    append_rating(b, a_rating(score=2))
    score = lambda *p: {(r.rater, r.score) for r in read_ratings(*p)}
    assert score(a) == {('ada', 1), ('bob', 3)} and score(a, b) == {('ada', 2), ('bob', 3)}


def test_every_answer_is_on_disk_when_the_process_dies(tmp_path):
    "Killed without any clean-up after the third answer, the rater goes on at the fourth."
    program = '''
import os, sys, torch
from avgen_nb.rating import rating_items, sit_down, answer
s = sit_down(rating_items('s', ['tuba'] * 5, torch.zeros(5, 3, 8, 8)), 'ada', sys.argv[1], least=0)
for score in (3, 2, 0): answer(s, score)
os.kill(os.getpid(), 9)
'''
    p = subprocess.run([sys.executable, '-c', program, str(tmp_path/'r.csv')], env=os.environ | dict(PYTHONPATH=str(ROOT)), capture_output=True, text=True)
    assert p.returncode == -9, p.stderr
    s = sit_down(rating_items('s', ['tuba'] * 5, torch.zeros(5, 3, 8, 8)), 'ada', tmp_path/'r.csv')
    assert progress(s) == '4 of 5' and list(s.given.values()) == [3, 2, 0]


def test_synced_before_the_answer_counts(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(rating.os, 'fsync', lambda f: synced.append(os.fstat(f).st_size))
    s = sit_down(some_items('s', 2), 'ada', tmp_path/'r.csv', least=0)
    answer(s, 3)
    assert synced == [(tmp_path/'r.csv').stat().st_size]


# --- a sitting

def test_clock_and_double_click(tmp_path):
    clock = Clock()
    s = sit_down(some_items('s', 3), 'ada', tmp_path/'r.csv', clock=clock)
    clock.now = 2.
    assert press(s, '3') == ''
    assert 'look first' in press(s, '3') and progress(s) == '2 of 3'   # the second click of a double click
    clock.now = 3.5
    press(s, '1')
    assert [(r.score, r.seconds) for r in read_ratings(tmp_path/'r.csv')] == [(3, 2.), (1, 1.5)]


def test_undo_to_the_start_and_back(tmp_path):
    s = sit_down(some_items('s', 3), 'ada', tmp_path/'r.csv', least=0)
    assert 'first item' in press(s, 'u')
    for k in '321': press(s, k)
    assert current(s) is None and progress(s) == 'all 3 rated, thank you'
    assert 'every item is rated' in press(s, '2')
    assert 'so far: 1' in press(s, 'u') and 'so far: 2' in press(s, 'u')
    press(s, '0')
    assert current(s) is None and [r.score for r in read_ratings(tmp_path/'r.csv')] == [3, 0, 1]
    assert len((tmp_path/'r.csv').read_text().splitlines()) == 5, 'the file keeps every answer'


@pytest.mark.parametrize('key', ['4', '-1', '', 'x', '٣', '33', ' '])
def test_other_keys_save_nothing(key, tmp_path):
    s = sit_down(some_items('s', 3), 'ada', tmp_path/'r.csv', least=0)
    if key == '٣': assert press(s, key) == '' and s.given[s.items[0].name] == 3     # an Arabic three is a three
    else: assert press(s, key).startswith('Nothing saved:') and not (tmp_path/'r.csv').exists()


def test_a_full_disk_is_told_and_not_passed_over(tmp_path, monkeypatch):
    s = sit_down(some_items('s', 3), 'ada', tmp_path/'r.csv', least=0)
    def full(*a): raise OSError(28, 'No space left on device')
    monkeypatch.setattr(rating, 'append_rating', full)
    assert 'No space left' in press(s, '3') and progress(s) == '1 of 3' and not s.given


def test_raters_share_a_file_and_items_may_change(tmp_path):
    path, said = tmp_path/'r.csv', []
    for who in ('ada', 'bob'):
        s = sit_down(some_items('s', 3), who, path, least=0)
        assert progress(s) == '1 of 3'
        answer(s, 3)
    s = sit_down(some_items('s', 3, seed=9), ' ada ', path, report=said.append)
    assert progress(s) == '1 of 3' and said == ['1 earlier answers of ada are about other items; they stay in the file.']
    assert len(about(read_ratings(path), some_items('s', 3))) == 2 and about(read_ratings(path), s.items) == []
    with pytest.raises(ValueError, match='rater is empty'): sit_down(s.items, '  ', path)


def test_text_form(tmp_path, capsys):
    keys = iter(['3', ' U ', 'x', '2', '1', 'q'])
    asked = []
    s = rate_in_text(some_items('s', 4), 'ada', tmp_path/'r.csv', ask=lambda q: asked.append(q) or next(keys), least=0)
    out = capsys.readouterr().out
    assert [r.score for r in read_ratings(tmp_path/'r.csv')] == [2, 1] and progress(s) == '3 of 4'
    assert asked[0] == '1 of 4, asked for tuba: ' and '▀' in out and 'so far: 3' in out and "'x' is no score" in out
    assert all(text in out for text in SCORES.values())
    def gone(q): raise EOFError
    assert progress(rate_in_text(some_items('s', 4), 'ada', tmp_path/'r.csv', ask=gone)) == '3 of 4'


def test_terminal_hears_too(tmp_path, capsys):
    show_item(rating_items('s', ['tuba'], waves=torch.zeros(1, 4410))[0], tmp_path)
    assert (tmp_path/'listen.wav').exists() and 'listen.wav' in capsys.readouterr().out
    lines = in_blocks(torch.full((3, 6, 4), 200, dtype=torch.uint8)).split('\n')
    assert len(lines) == 3 and all(l.count('▀') == 4 and '200;200;200' in l for l in lines)


def widgets(box): return [w for c in getattr(box, 'children', ()) for w in [c, *widgets(c)]]


def test_widget_only_calls_the_functions(tmp_path):
    from ipywidgets import HTML, Button
    path = tmp_path/'r.csv'
    box = rate(some_items('secret system', 3), 'ada', path, least=0)
    buttons = {b.description[:1]: b for b in widgets(box) if isinstance(b, Button)}
    text = lambda: ' '.join(w.value for w in widgets(box) if isinstance(w, HTML))
    assert list(buttons) == ['3', '2', '1', '0', 'U'], 'the order of the Tab key'
    assert '1 of 3' in text() and 'secret' not in text() and '<img' in text()
    for key in '30': buttons[key].click()
    assert '3 of 3' in text()
    buttons['U'].click()
    assert 'so far: 0' in text()
    for key in '12': buttons[key].click()
    assert 'all 3 rated' in text() and '<img' not in text()
    assert [r.score for r in read_ratings(path)] == [3, 1, 2]
    buttons['3'].click()
    assert 'Nothing saved: every item is rated' in text()
    assert 'all 3 rated' in ' '.join(w.value for w in widgets(rate(some_items('secret system', 3), 'ada', path)) if isinstance(w, HTML))


def test_widget_tells_what_a_crash_did(tmp_path):
    from ipywidgets import HTML
    append_rating(path := tmp_path/'r.csv', a_rating())
    path.write_bytes(path.read_bytes()[:-4])
    box = rate(some_items('s', 3), 'ada', path)
    assert any('unfinished and is dropped' in w.value for w in widgets(box) if isinstance(w, HTML))


def test_no_ratings_ship():
    assert not [f for f in ROOT.glob('**/*.csv') if not any(p.startswith('.') for p in f.relative_to(ROOT).parts) and f.read_text(errors='replace').startswith(HEADER)]
