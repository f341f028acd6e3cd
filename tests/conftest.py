"Set up before anything is imported: few threads, no window, a cache of its own for this run."
import atexit, os, shutil, sys, tempfile
from pathlib import Path

os.environ.setdefault('OMP_NUM_THREADS', '2')
os.environ.setdefault('MPLBACKEND', 'Agg')
if 'AVGEN_CACHE' not in os.environ:
    os.environ['AVGEN_CACHE'] = tempfile.mkdtemp(prefix='avgen_nb-cache-')
    atexit.register(shutil.rmtree, os.environ['AVGEN_CACHE'], ignore_errors=True)
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import pytest
from hypothesis import settings

settings.register_profile('same every time', deadline=None, derandomize=True)
settings.load_profile('same every time')


@pytest.fixture(scope='session')
def root():
    "The repository's folder."
    return Path(__file__).resolve().parent.parent
