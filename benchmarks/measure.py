"Timing two things side by side on a machine that others use too."
import os, platform, resource, statistics, subprocess, sys, time
from dataclasses import asdict, dataclass


CLOCKS = dict(wall=time.perf_counter, cpu=time.process_time)
clock = CLOCKS['wall']    # `--clock cpu` counts the seconds that this process computes: for a machine busy with other things


def seconds(f):
    "How long one call takes; on a GPU, until its work is done."
    import torch
    began = clock()
    f()
    if torch.cuda.is_available(): torch.cuda.synchronize()
    return clock() - began


def side_by_side(ours, peer, rounds=5, calls=1):
    """Medians of both in seconds a call, and the median of the ratios peer / ours of each round.

    They take turns (A B A B …), so that a busy spell of the machine meets both of them."""
    ours(); peer()
    a, b = [], []
    for _ in range(rounds):
        a.append(min(seconds(ours) for _ in range(calls)))
        b.append(min(seconds(peer) for _ in range(calls)))
    return statistics.median(a), statistics.median(b), statistics.median(y / x for x, y in zip(a, b))


def device_name():
    "The processor or GPU that this run uses, in words."
    import torch
    if torch.cuda.is_available(): return torch.cuda.get_device_name()
    name = platform.processor() or platform.machine()
    try: name = next(l.split(':')[1].strip() for l in open('/proc/cpuinfo') if l.startswith('model name'))
    except (OSError, StopIteration): pass
    n = torch.get_num_threads()
    return f'{n} core{"s" * (n > 1)} of {name}'


def peak_gib():
    "Most memory this process has held, GiB."
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == 'darwin' else 2**20)


def show_time(s): return f'{s:.2f} s' if s >= 1 else f'{1e3*s:.3g} ms' if s >= 1e-3 else f'{1e6*s:.3g} µs'


@dataclass
class Row:
    "One line of the table: ours, the peer's, how they compare, and what was aimed at."
    name: str          # of the benchmark, as on the command line
    what: str          # what was done
    ours: str          # our figure, with its unit
    peer: str          # the peer and its figure
    ratio: str         # how they compare
    target: str        # what DESIGN asks
    value: float       # the ratio or figure as a number
    met: bool          # is it what was aimed at?
    device: str = ''
    version: str = ''

    def as_dict(self): return asdict(self)


def fresh(program, *args, timeout=600):
    "Run a Python program in a process of its own and return what it printed."
    p = subprocess.run([sys.executable, '-c', program, *map(str, args)], capture_output=True, text=True, timeout=timeout, env=dict(os.environ))
    if p.returncode: raise RuntimeError(p.stderr.strip().splitlines()[-1] if p.stderr else f'exit status {p.returncode}')
    return p.stdout
