"""Rewrite every badge, install line and repository link from `user`, `repo` and `branch` in settings.ini.

    python scripts/links.py            # rewrite
    python scripts/links.py --check    # only name the files that would change; exit status 1 if there are any

The old home is read from the first Colab badge of README.md, so a link to someone else's repository stays as it is.
"""
import re, sys
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COLAB = 'https://colab.research.google.com/github/'
OWNED = re.compile(r'(?:colab\.research\.google\.com/github|github\.com)/([\w.-]+/[\w.-]+?)(?=\.git\b|[/)\s"\'\\#<>]|$)')


def settings(root=ROOT):
    "The values of settings.ini."
    cfg = ConfigParser(delimiters=['='])
    cfg.read(root/'settings.ini', encoding='utf-8')
    return cfg['DEFAULT']


def notebooks(root=ROOT): return sorted(f for f in root.glob('nbs/**/*.ipynb') if '/.' not in f.as_posix() and not f.name.startswith(('.', '_')))

def pages(root=ROOT): return [f for p in ('*.md', 'docs/**/*.md', '.github/**/*.md') for f in sorted(root.glob(p))]


def badge_url(path, cfg, root=ROOT):
    "Where Colab opens the notebook at `path`."
    return f'{COLAB}{cfg["user"]}/{cfg["repo"]}/blob/{cfg["branch"]}/{Path(path).relative_to(root).as_posix()}'


def old_home(root=ROOT):
    "`user/repo` as the README has it now."
    m = re.search(re.escape(COLAB) + r'([\w.-]+/[\w.-]+)/', (root/'README.md').read_text(encoding='utf-8'))
    if not m: raise SystemExit('README.md has no Colab badge, so the links to rewrite are unknown: put one back.')
    return m[1]


def relink(text, path, cfg, old, root=ROOT):
    "`text` of the file at `path` with every link to our own repository as settings.ini has it."
    new = f'{cfg["user"]}/{cfg["repo"]}'
    if path.suffix == '.ipynb':
        text = re.sub(rf'{re.escape(COLAB)}[\w.-]+/[\w.-]+/blob/[\w.-]+/nbs/[\w./-]+?\.ipynb(?=\))',
                      badge_url(path, cfg, root), text, count=1)                       # the notebook's own badge
        text = re.sub(r'(%pip install [^"\n]*git\+https://github\.com/)[\w.-]+/[\w.-]+?(?=\.git\b|[\s@"\\#]|$)', rf'\g<1>{new}', text)
    return OWNED.sub(lambda m: m[0].replace(m[1], new) if m[1] == old else m[0], text)


def stale(root=ROOT, write=False):
    "Files whose links differ from settings.ini; with `write` they are rewritten."
    cfg, old, out = settings(root), old_home(root), []
    for path in notebooks(root) + pages(root):
        text = path.read_text(encoding='utf-8')
        if (new := relink(text, path, cfg, old, root)) != text:
            out.append(path.relative_to(root).as_posix())
            if write: path.write_text(new, encoding='utf-8')
    return out


if __name__ == '__main__':
    check = '--check' in sys.argv[1:]
    changed = stale(write=not check)
    for f in changed: print(f'{"stale" if check else "rewrote"}: {f}')
    if not changed: print('every link is as settings.ini has it')
    sys.exit(bool(check and changed))
