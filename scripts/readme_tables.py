"""Rewrite the tables of README.md: lessons from the notebooks, results and speed from rows in docs/*.jsonl.

    python scripts/readme_tables.py            # rewrite
    python scripts/readme_tables.py --check    # exit status 1 if a table is out of date

A table stands between `<!-- NAME begin -->` and `<!-- NAME end -->`; nothing between the two is typed by hand.
"""
import json, re, sys
from pathlib import Path

from links import ROOT, badge_url, settings

BADGE = 'https://colab.research.google.com/assets/colab-badge.svg'


def read_jsonl(path): return [json.loads(l) for l in path.read_text(encoding='utf-8').splitlines() if l.strip()] if path.exists() else []


def markdown_table(head, rows):
    "A GitHub table of strings."
    line = lambda cells: '| ' + ' | '.join(str(c).replace('|', '\\|') for c in cells) + ' |'
    return '\n'.join([line(head), line(['---'] * len(head)), *map(line, rows)])


def lesson(path):
    "One lesson: its title, its one line, and how long it takes."
    cells = json.loads(path.read_text(encoding='utf-8'))['cells']
    prose = '\n'.join(''.join(c['source']) for c in cells[:6] if c['cell_type'] == 'markdown')
    title, line = re.search(r'^# (.+)$', prose, re.M), re.search(r'^> (.+)$', prose, re.M)
    runs = re.search(r'^\*\*Runs on\*\*\s*(.+)$', prose, re.M)
    minutes = re.search(r'(?:under |half )?(?:a few|an?|\d+) (?:minute|second)s?', runs[1]) if runs else None
    return title[1] if title else path.stem, line[1] if line else '', minutes[0] if minutes else ''


def lesson_row(path, cfg, root):
    "One lesson as a row of the table, with its badge."
    title, line, minutes = lesson(path)
    link, badge = path.relative_to(root).as_posix(), f'[![Open In Colab]({BADGE})]({badge_url(path, cfg, root)})'
    return [f'[{path.stem.partition("_")[0]} {title}]({link})', line, minutes, badge]


def lessons(root=ROOT):
    "The table of lessons."
    rows = [lesson_row(p, settings(root), root) for p in sorted(root.glob('nbs/[0-9]*.ipynb'))]
    return markdown_table(['lesson', 'what you do', 'on 2 cores', ''], rows)


def number(x): return '' if x is None else f'{x:.3f}' if abs(x) < 10 else f'{x:.1f}'

def interval(r): return '' if r.get('low') is None or r.get('high') is None else f'{number(r["low"])} to {number(r["high"])}'


def with_ends(r, less='–'):
    "A value with its interval."
    if not r: return less
    return number(r['value']) + (f' [{number(r["low"])}, {number(r["high"])}]' if interval(r) else '')


def seeds(r):
    "How many trainings a row stands for; one that has a seed stands for itself."
    n = r.get('seeds') or (1 if r.get('seed') is not None else '')
    return 'one' if n == 1 else str(n)


def by_model(rows):
    "The rows of each model and split: a dict of metric → row for each, in the order of the file."
    found = {}
    for r in rows: found.setdefault(tuple(r.get(k) for k in ('system', 'direction', 'split', 'data', 'budget', 'seed', 'steps', 'minutes')), {})[r['metric']] = r
    return list(found.values())


def beside(r, less='–'): return less if not r else number(r['value']) + (f' (real {number(r["ceiling"])})' if r.get('ceiling') is not None else '')


RIGHT, REAL = 'balanced_accuracy', 'recordings'
SHARES = {'precision': 'precision', 'recall': 'recall', 'coverage': 'coverage', 'near_copies': 'near copies', 'periodicity': 'periodicity (sounds)'}

def results(root=ROOT):
    "What the shipped models make: one line a model, from the rows of docs/results.jsonl of the exam, and of real recordings."
    rows = read_jsonl(root/'docs/results.jsonl')
    real = {(r['system'], r['direction']): r for r in rows if r.get('split') == REAL and r['metric'] == RIGHT}
    models = [m for m in by_model(r for r in rows if r.get('split') == 'exam') if RIGHT in m]
    if not models: return '*No rows yet: `python scripts/ship_models.py --rescore` writes them.*'
    head = ['system', 'direction', 'judged right [95 % over songs]', 'songs', 'seeds', 'ceiling', 'chance', *SHARES.values(), 'real recordings [95 % over files]']
    body = [[(r := m[RIGHT])['system'], r['direction'], with_ends(r), r.get('songs') or '', seeds(r), number(r.get('ceiling')), number(r.get('chance')),
             *(beside(m.get(k)) for k in SHARES), with_ends(real.get((r['system'], r['direction'])))] for m in models]
    return markdown_table(head, body) + ''.join('\n\n' + heard(r) for (system, _), r in real.items() if system == 'judge of sounds')


def heard(r):
    "How good the judge of sounds is on real recordings, in a sentence."
    return f'Of the {r["data"]} ({r["n"]} files) the judge of sounds itself names {with_ends(r)} rightly; chance is {number(r["chance"])}.'


def demo(root=ROOT):
    "What the minutes of `make demo` give: one line a model, from the rows of docs/results.jsonl on test songs."
    models = [m for m in by_model(r for r in read_jsonl(root/'docs/results.jsonl') if r.get('split') == 'test') if RIGHT in m]
    if not models: return '*No rows yet: `make demo` writes them to `demo/results.jsonl`.*'
    head = ['system', 'direction', 'judged right [95 % over songs]', 'seeds', 'ceiling', 'chance', 'recall', 'diversity within a class', 'minutes', 'device']
    body = [[(r := m[RIGHT])['system'], r['direction'], with_ends(r), seeds(r), number(r.get('ceiling')), number(r.get('chance')), beside(m.get('recall')),
             beside(m.get('diversity_within')), f'{r["minutes"]:.1f}', r['device']] for m in models]
    return markdown_table(head, body)


def on(r):
    "The data and the budget of a row."
    return ', '.join(filter(None, (r.get('data'), r.get('budget') and f'budget {r["budget"]}')))


OVER = '95 % interval over songs and seeds'

def over(r):
    "An interval, and what it is: ≈ where it was worked out from the seeds' values, since the answers are gone (scripts/seed_intervals.py)."
    if not interval(r) or not r.get('seeds'): return interval(r) and f'{interval(r)}, songs only'
    return ('≈ ' if r['seeds'] > 1 and not r.get('songs') else '') + interval(r)


def chen2017(root=ROOT):
    "Tables 1 and 5 of Chen et al. (2017) and their I2S: means over seeds from the rows of docs/chen2017.jsonl, test songs."
    rows = [r for r in read_jsonl(root/'docs/chen2017.jsonl')
            if r.get('metric') == 'balanced_accuracy' and r.get('seed') is None and r.get('split') == 'test' and r.get('paper')]
    if not rows: return '*No rows yet: `make reproduce PAPER=chen2017 PUBLISH=1` writes them.*'
    body = [[r['system'], r['paper'], number(r['value']), over(r), seeds(r), number(r.get('ceiling')), number(r.get('chance')), on(r)] for r in rows]
    return markdown_table(['system', 'paper, its data', 'ours', OVER, 'seeds', 'ceiling', 'chance', 'our data and budget'], body)


def cmcgan2018(root=ROOT):
    "CMCGAN, what it is compared with, and with one thing taken away: means over seeds from the rows of docs/cmcgan2018.jsonl, test songs."
    rows = [r for r in read_jsonl(root/'docs/cmcgan2018.jsonl')
            if r.get('metric') == 'balanced_accuracy' and r.get('seed') is None and r.get('split') == 'test' and r.get('direction', '').count('→') == 1]
    if not rows: return '*No rows yet: `make reproduce PAPER=cmcgan2018 PUBLISH=1` writes them.*'
    body = [[r['direction'], r['system'], r.get('paper') or '', number(r['value']), over(r), seeds(r), number(r.get('ceiling')), on(r)]
            for r in sorted(rows, key=lambda r: (r['direction'], -r['value']))]
    return markdown_table(['direction', 'system', 'paper, its data', 'ours', OVER, 'seeds', 'ceiling', 'our data and budget'], body)


def speed(root=ROOT):
    "The table of speed, one line a row of docs/benchmarks.jsonl."
    rows = read_jsonl(root/'docs/benchmarks.jsonl')
    if not rows: return '*No rows yet: `python -m benchmarks --out docs/benchmarks.jsonl` writes them.*'
    first = rows[0]['device']
    others = {d: '\\' + '*' * k for k, d in enumerate(dict.fromkeys(r['device'] for r in rows if r['device'] != first), 1)}
    body = [[r['what'] + others.get(r['device'], ''), r['ours'], r['peer'], r['ratio'], r['target'] + ('' if r['met'] else ': missed')] for r in rows]
    return f'Each line measured in one run on {first}, version {rows[0]["version"]}.\n\n' + \
        markdown_table(['what', 'avgen_nb', 'beside', 'ratio', 'aim'], body) + ''.join(f'\n\n{mark} {d}' for d, mark in others.items())


def filled(text, root=ROOT):
    "`text` of the README with its tables made anew."
    for name, make in dict(lessons=lessons, results=results, demo=demo, chen2017=chen2017, cmcgan2018=cmcgan2018, speed=speed).items():
        begin, end = f'<!-- {name} begin -->', f'<!-- {name} end -->'
        if begin not in text or end not in text: raise SystemExit(f'README.md lacks the markers "{begin}" and "{end}": put them back.')
        text = text.partition(begin)[0] + f'{begin}\n{make(root)}\n{end}' + text.partition(end)[2]
    return text


if __name__ == '__main__':
    readme = ROOT/'README.md'
    old = readme.read_text(encoding='utf-8')
    new = filled(old)
    if '--check' in sys.argv[1:]: sys.exit('README.md is out of date: run `make readme`.' if new != old else 0)
    if new != old: readme.write_text(new, encoding='utf-8')
    print('README.md rewritten' if new != old else 'README.md is up to date')
