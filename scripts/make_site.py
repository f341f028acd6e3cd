"""The lessons as pages that open without a server and without the internet: `make site`, then open site/index.html.

    python scripts/make_site.py                       # every notebook
    python scripts/make_site.py --out DIR 20 21       # those whose name begins so

Outputs are the saved ones: nothing is run. Pictures and sounds are in the page, equations are MathML, and there is no script.
Cells marked `#| hide` are left out, other directive lines are taken off, and a cell that the package is made of has a coloured edge.
"""
import argparse, html, os, re, shutil
from pathlib import Path

import nbformat
from latex2mathml.converter import convert as mathml
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from pygments.formatters import HtmlFormatter

from links import ROOT, badge_url, notebooks, settings
from readme_tables import lesson

SECTIONS = {'nbs': 'Lessons', 'reproduce': 'Papers repeated', 'solutions': 'Solutions to the exercises'}   # by folder
WIDGET = 'application/vnd.jupyter.widget-view+json'
BADGE = re.compile(r'<p>(<a [^>]*>Open In Colab</a>)</p>')
BARE = re.compile(r'\\(mathbb|mathcal)\s+(\w)')     # \mathbb E: latex2mathml wants the braces


def equation(tex, display):
    "LaTeX as MathML."
    return mathml(BARE.sub(r'\\\1{\2}', tex.strip()), display=display)


class Page(IPythonRenderer):
    "Markdown of a notebook as HTML: equations as MathML, links to notebooks as links to their pages, badges as words."
    def block_math(self, body): return f'<span class="equation">{equation(body, "block")}</span>'

    def inline_math(self, body): return equation(body, 'inline')

    def latex_environment(self, name, body): return self.block_math(rf'\begin{{{name}}}{body}\end{{{name}}}')

    def link(self, text, url, title=None): return super().link(text, re.sub(r'^(?!https?:)([^#]+)\.ipynb', r'\1.html', url), title)

    def image(self, text, url, title=None): return html.escape(text) if 'colab-badge' in url else super().image(text, url, title)


def markdown(source): return MarkdownWithMath(renderer=Page(escape=False)).render(source)


def shown(nb):
    "The cells that a reader should see, without their directive lines."
    cells = []
    for c in nb.cells:
        if c.cell_type == 'code':
            directives = re.findall(r'^#\| *(\S+)', c.source, re.M)
            c.source = re.sub(r'^#\|.*\n?', '', c.source, flags=re.M).strip('\n')
            c.outputs = [o for o in c.outputs if WIDGET not in o.get('data', {})]   # a widget needs a kernel
            if 'hide' in directives or not (c.source or c.outputs): continue
            c.metadata = dict(tags=['export'] if 'export' in directives else [], alt='Figure drawn by the code above')
        cells.append(c)
    return nbformat.v4.new_notebook(cells=cells, metadata=nb.metadata)


def rendered(path, exporter):
    "The notebook as HTML, without a page around it."
    body, _ = exporter.from_notebook_node(shown(nbformat.read(path, 4)))
    body = body.replace('alt="No description has been provided for this image"', 'alt=""')   # those in a grid have their words beside them
    return re.sub(r' href="#([^"]*)">¶', r' href="#\1" aria-label="Link to this heading">¶', body)


def where(path): return path.relative_to(ROOT/'nbs').with_suffix('.html')      # inside the site

def number(path): return path.stem.partition('_')[0] if path.parent.name != 'reproduce' else ''

def to(page, other): return os.path.relpath(other, page.parent).replace(os.sep, '/')   # address of one page from another


def contents(page, paths):
    "Every notebook, as a list of links from `page`."
    out = []
    for folder, heading in SECTIONS.items():
        rows = [(p, lesson(p)[0]) for p in paths if p.parent.name == folder]
        if not rows or folder == 'solutions': continue
        item = lambda p, title: (f'<li{" class=here" if where(p) == page else ""}><a href="{to(page, where(p))}"{" aria-current=page" if where(p) == page else ""}>'
                                 f'<b>{number(p)}</b> {html.escape(title)}</a></li>')
        out.append(f'<h2>{heading}</h2><ul>{"".join(item(*r) for r in rows)}</ul>')
    return ''.join(out)


def neighbours(path, paths):
    "Links to the pages before and after in the same folder: short ones for the top of the page, and with titles for its end."
    row = [p for p in paths if p.parent == path.parent]
    i = row.index(path)
    sides = [(row[i-1] if i else None, 'prev', '←'), (row[i+1] if i + 1 < len(row) else None, 'next', '→')]
    link = lambda p, rel, inside: f'<a rel={rel} href="{to(where(path), where(p))}">{inside}</a>'
    name = lambda p: html.escape(f'{number(p)} {lesson(p)[0]}'.strip())
    top = ''.join(link(p, rel, f'<span aria-label="{name(p)}">{" ".join(sorted((arrow, number(p)), reverse=rel == "prev"))}</span>') for p, rel, arrow in sides if p)
    end = ''.join(link(p, rel, f'<small>{dict(prev="before", next="next")[rel]}</small>{name(p)}') for p, rel, _ in sides if p)
    return top, end


def about(path, paths):
    "What the notebook exports, and its lesson or its solutions."
    name = re.search(r'#\| default_exp (\w+)', path.read_text(encoding='utf-8'))
    other = {path.parent/'solutions'/f'{path.stem}_solutions.ipynb': 'solutions', path.parent.parent/path.name.replace('_solutions', ''): 'the lesson'}
    parts = [f'<a href="{to(where(path), where(p))}">{word}</a>' for p, word in other.items() if p in paths and p != path]
    if name: parts.append(f'exports <code>{settings()["lib_name"]}.{name[1]}</code>, the cells with a coloured edge')
    return ' · '.join(parts)


def page_html(at, title, main, nav='', top='', end=''):
    "A whole page at `at`, a path inside the site."
    return f'''<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{html.escape(title)} · {settings()["title"]}</title>
<link rel="stylesheet" href="{to(at, Path("site.css"))}">
</head>
<body>
<header><a href="{to(at, Path("index.html"))}">{settings()["title"]}</a>{f'<nav aria-label="Before and next">{top}</nav>' if top else ''}</header>
{f'<nav class="contents" aria-label="Lessons">{nav}</nav>' if nav else ''}
<main>
{main}
{f'<nav class="neighbours" aria-label="Before and next, with titles">{end}</nav>' if end else ''}
</main>
</body>
</html>
'''


def index_html(paths):
    "The first page: what this is, and the lessons."
    cfg, readme = settings(), (ROOT/'README.md').read_text(encoding='utf-8')
    said = re.search(r'^# .+\n\n(.+)$', readme, re.M)[1]
    alt = re.search(r'!\[(.+)\]\(docs/demo\.png\)', readme)[1]
    out = [f'<h1>{cfg["title"]}</h1>{markdown(said)}<img src="demo.png" alt="{html.escape(alt)}">']
    for folder, heading in SECTIONS.items():
        out.append(f'<h2>{heading}</h2><ol class="lessons{" small" if folder == "solutions" else ""}">')
        for p in (p for p in paths if p.parent.name == folder):
            title, line, minutes = lesson(p)
            more = [minutes and f'{minutes} on 2 cores', f'<a href="{badge_url(p, cfg)}">Open in Colab</a>']
            out.append(f'<li><b>{number(p)}</b><div><a href="{where(p).as_posix()}">{html.escape(title)}</a>'
                       + ('' if folder == 'solutions' else f'{markdown(line)}<p class="about">{" · ".join(filter(None, more))}</p>') + '</div></li>')
        out.append('</ol>')
    return page_html(Path('index.html'), 'Lessons', '\n'.join(out))


def style():
    "The style sheet: ours, and the colours of code in light and in dark."
    light, dark = (HtmlFormatter(style=s).get_style_defs('.highlight') for s in ('default', 'github-dark'))
    return (ROOT/'scripts/site.css').read_text(encoding='utf-8') + f'\n{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n'


def make(out, wanted=()):
    "Write the site to the folder `out`; its pages."
    every = [p for p in notebooks() if p.parent.name in SECTIONS]
    paths = [p for p in every if not wanted or p.name.startswith(tuple(wanted))]
    exporter = HTMLExporter(template_name='basic', exclude_input_prompt=True, exclude_output_prompt=True, filters=dict(markdown2html=markdown, clean_html=lambda x: x))   # the notebooks are ours: nothing to clean
    for path in paths:
        (file := out/where(path)).parent.mkdir(parents=True, exist_ok=True)
        body = BADGE.sub(lambda m: f'<p class="about">{" · ".join(filter(None, (m[1], about(path, paths))))}</p>', rendered(path, exporter), count=1)
        file.write_text(page_html(where(path), lesson(path)[0], body, contents(where(path), paths), *neighbours(path, paths)), encoding='utf-8')
    (out/'index.html').write_text(index_html(paths), encoding='utf-8')
    (out/'site.css').write_text(style(), encoding='utf-8')
    shutil.copy(ROOT/'docs/demo.png', out)
    return [out/where(p) for p in paths]


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description='The lessons as pages that open without a server.')
    parser.add_argument('names', nargs='*', help='beginnings of notebook names; without any, every notebook')
    parser.add_argument('--out', type=Path, default=ROOT/'site')
    args = parser.parse_args()
    pages = make(args.out, args.names)
    print(f'{len(pages)} pages: open {args.out}/index.html')
