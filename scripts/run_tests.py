"""Everything `make test` checks, in the order a contributor works:
clean the notebooks, export the modules, see that neither step changed a file, run every lesson, run pytest.

The last line is 'N passed, M failed', notebooks and tests together; the exit status is 0 only if M is 0.
"""
import hashlib, os, re, shutil, subprocess, sys, tempfile, time
import xml.etree.ElementTree as ET
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent


def tree():
    "Hash of every file that cleaning and exporting may write."
    files = [*ROOT.glob('nbs/**/*.ipynb'), *ROOT.glob('avgen_nb/**/*.py'), ROOT/'pyproject.toml', ROOT/'settings.ini']
    return {str(f.relative_to(ROOT)): hashlib.sha256(f.read_bytes()).hexdigest()
            for f in sorted(files) if f.exists() and '.ipynb_checkpoints' not in f.parts}


def run(*command, env):
    "Run one command in the repository, its output passed through and returned."
    print('$', ' '.join(map(str, command)), flush=True)
    out, began = [], time.time()
    with subprocess.Popen([str(BIN/command[0]), *map(str, command[1:])], cwd=ROOT, env=env, text=True, errors='replace',
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as p:
        for line in p.stdout:
            print(line, end='', flush=True)
            out.append(line)
    print(f'  ({time.time()-began:.0f} s)', flush=True)
    return p.returncode, ''.join(out)


def check_tree(env):
    "Clean and export; the number of ways in which that failed or changed the tree."
    before = tree()
    clean_status, _ = run('nbdev_clean', env=env)
    export_status, _ = run('nbdev_export', env=env)
    after = tree()
    changed = sorted(f for f in before.keys() | after.keys() if before.get(f) != after.get(f))
    for f in changed: print(f'changed by nbdev_clean or nbdev_export, commit it: {f}')
    return bool(clean_status or export_status or changed)


def run_lessons(env):
    "Run every notebook on the test budget; how many passed and failed."
    names = [f.name for f in sorted(ROOT.glob('nbs/**/*.ipynb')) if not re.search(r'/[_.]', f.relative_to(ROOT).as_posix())]
    status, out = run('nbdev_test', '--n_workers', 2, '--timing', '--do_print', env=dict(env, OMP_NUM_THREADS='1'))
    failed = {n for n in out.rpartition('Tests Failed On The Following Notebooks')[2].split() if n.endswith('.ipynb')} if status else set()
    n_failed = max(len(failed), 1) if status else 0
    return len(names) - min(n_failed, len(names)), n_failed


def run_pytest(env, folder):
    "Run pytest; how many passed and failed."
    report = Path(folder)/'pytest.xml'
    status, _ = run('python', '-m', 'pytest', '-q', '--durations=8', f'--junitxml={report}', env=env)
    if not report.exists(): return 0, 1
    suite = ET.parse(report).getroot().find('testsuite')
    total, failed, skipped = int(suite.get('tests')), int(suite.get('failures')) + int(suite.get('errors')), int(suite.get('skipped'))
    if status and not failed: failed = 1
    return max(total - failed - skipped, 0), failed


def main():
    began, folder = time.time(), tempfile.mkdtemp(prefix='avgen_nb-test-')
    env = {k: v for k, v in os.environ.items() if k not in ('IN_TEST', 'PYTHONPATH')}
    env |= dict(PATH=f'{BIN}{os.pathsep}{env.get("PATH", "")}', PYTHONUNBUFFERED='1', MPLBACKEND='Agg', PYTHONHASHSEED='0')
    env.setdefault('AVGEN_CACHE', str(Path(folder)/'cache'))
    try:
        tree_failed = check_tree(env)
        passed, failed = map(sum, zip(run_lessons(env), run_pytest(env, folder)))
    finally: shutil.rmtree(folder, ignore_errors=True)
    failed += tree_failed
    print(f'{(time.time()-began)/60:.1f} minutes', flush=True)
    print(f'{passed} passed, {failed} failed', flush=True)
    return int(failed > 0 or passed == 0)


if __name__ == '__main__': sys.exit(main())
