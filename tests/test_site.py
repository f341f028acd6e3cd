"The pages of `make site`: every notebook, whole, and in need of nothing but a browser."
import re, sys
from functools import cache
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import nbformat, pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT/'scripts'))
import links, make_site

NOTEBOOKS = links.notebooks(ROOT)
each = pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: p.stem)


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    "The whole site, built once."
    make_site.make(folder := tmp_path_factory.mktemp('site'))
    return folder


class Tags(HTMLParser):
    "Start tags with their attributes, and whether each is closed."
    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ''
        self.feed(text)

    def handle_starttag(self, tag, attrs): self.tags.append((tag, dict(attrs)))

    def handle_data(self, data): self.text += data


def of(page, tag): return [a for t, a in page.tags if t == tag]

@cache
def read(site, path): return Tags((site/make_site.where(path)).read_text(encoding='utf-8'))


def complete(page, at):
    "Nothing comes from elsewhere, and whatever a link of ours points to is there."
    assert not of(page, 'script')
    for a in of(page, 'img') + of(page, 'audio') + of(page, 'source'): assert a.get('src', 'data:').startswith('data:') or (at.parent/a['src']).exists()
    for a in of(page, 'a') + of(page, 'link'):
        to, _, anchor = a['href'].partition('#')
        if to.startswith('https://'): continue
        assert not to or (at.parent/to).exists(), f'{at.name} points to {to}, which is not in the site'
        if anchor and not to: assert any(x.get('id') == anchor for _, x in page.tags), f'{at.name} has no #{anchor}'


@each
def test_page(site, path):
    page, cells = read(site, path), nbformat.read(path, 4).cells
    complete(page, site/make_site.where(path))
    assert not re.search(r'^#\||%pip install', page.text, re.M), 'hidden cells and directive lines are left out'
    prose = '\n'.join(re.sub(r'`[^`]*`', '', c.source) for c in cells if c.cell_type == 'markdown')
    assert len(of(page, 'math')) == len(re.findall(r'\$\$.+?\$\$|(?<!\$)\$[^$]+\$', prose, re.S)) and '$$' not in page.text
    saved = ''.join(str(o.get('data', '')) for c in cells for o in c.get('outputs', []))
    assert len(of(page, 'audio')) == saved.count('<audio')
    images = sum('image/png' in o.get('data', {}) or 'image/jpeg' in o.get('data', {}) for c in cells for o in c.get('outputs', []))
    assert len(of(page, 'img')) == saved.count('<img') + images


def test_index(site):
    page = Tags((site/'index.html').read_text(encoding='utf-8'))
    complete(page, site/'index.html')
    hrefs = [a['href'] for a in of(page, 'a')]
    assert [h for h in hrefs if h.endswith('.html') and h != 'index.html'] == \
        [make_site.where(p).as_posix() for folder in make_site.SECTIONS for p in NOTEBOOKS if p.parent.name == folder]


def test_pages_follow_each_other(site):
    lessons = [p for p in NOTEBOOKS if p.parent.name == 'nbs']
    for before, after in zip(lessons, lessons[1:]):
        assert {a['href'] for a in of(read(site, before), 'a') if a.get('rel') == 'next'} == {f'{after.stem}.html'}
        assert {a['href'] for a in of(read(site, after), 'a') if a.get('rel') == 'prev'} == {f'{before.stem}.html'}


def test_what_a_reader_sees():
    new = nbformat.v4
    outputs = [new.new_output('display_data', {make_site.WIDGET: {}, 'text/plain': 'VBox()'}), new.new_output('display_data', {'text/plain': 'seen'})]
    cells = [new.new_code_cell('#| default_exp x'), new.new_code_cell('#| hide\nimport sys'), new.new_markdown_cell('# Title'),
             new.new_code_cell('#| export\n#| eval: false\ndef f(): pass'), new.new_code_cell('f()', outputs=outputs)]
    title, definition, call = make_site.shown(new.new_notebook(cells=cells)).cells
    assert (title.source, definition.source, call.source) == ('# Title', 'def f(): pass', 'f()')
    assert 'export' in definition.metadata.tags and not call.metadata.tags and [o.data['text/plain'] for o in call.outputs] == ['seen']


@pytest.mark.parametrize('tex', [r'\mathbb E[s]', r'\mathbb{E}[s]'])
def test_equations_with_and_without_braces(tex): assert '𝔼' in unescape(make_site.markdown(f'${tex}$'))


def test_equations_in_a_sentence_and_alone():
    html = make_site.markdown('Then $a_1 < b$.\n\n$$x^2$$')
    assert Tags(html).text.split() == ['Then', 'a1<b.', 'x2']
    assert [a['display'] for a in of(Tags(html), 'math')] == ['inline', 'block']
