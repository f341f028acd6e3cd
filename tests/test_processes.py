"""Several processes train real tasks as one does with the same global batch: two on the CPU, with tiny nets and made-up pairs.
Dropout draws otherwise in each process, so it is switched off wherever numbers are compared."""
import json, os, signal, socket, subprocess, sys
from pathlib import Path

import pytest
import torch

from avgen_nb import many
from avgen_nb.cgan import CHEN_S2I, I2S_POSE_GUIDED, S2I_C_GUIDED, CrossModalGAN, EncoderTask, encoder_for
from avgen_nb.cmcgan import BOTH, CMCGAN, CMCGAN_GUIDED, HAO
from avgen_nb.judges import Judge, JudgeTask, judge_for
from avgen_nb.missing import FusionTask
from avgen_nb.nets import MODALITIES, PICTURE, SOUND
from avgen_nb.pairs import Pairs
from avgen_nb.probes import PitchNet, PoseNet, ProbeTask
from avgen_nb.runs import changed
from avgen_nb.loop import seeded
from avgen_nb.many import choose, fit

ROOT = Path(many.__file__).parents[1]
CLASSES = ('flute', 'tuba', 'violin')
SMALL = dict(hidden=(16,), keep=(1.,), norm=True, vary=1., batch=12, plan=('8/2', '8/2'))
TINY = dict(width=4, batch=12)
quick = dict(device='cpu', precision='fp32', quiet=True, log_every=1, seed=3)


def made_up_pairs(n=48, **more):
    "Every class looks and sounds otherwise, so that there is something to learn."
    g, label, every = torch.Generator().manual_seed(0), torch.arange(n) % 3, torch.arange(n)
    truth = dict(pitch=50 + 10 * torch.rand(n, generator=g), keypoints=torch.rand(n, 12, 2, generator=g))
    picture = torch.randint(80, (n, 3, 64, 64), generator=g, dtype=torch.uint8) + (80 * label).to(torch.uint8)[:, None, None, None]
    sound = (torch.rand(n, 1, 128, 44, generator=g) + .5 * label[:, None, None, None] - 1).half()
    return Pairs(picture, sound, label, label, every // 8, CLASSES, every, every, truth=truth, **more)


def without_dropout(net):
    for m in net.modules():
        if isinstance(m, torch.nn.Dropout): m.p = 0.
    return net


def game(recipe, **more):
    r, (a, b) = changed(recipe, encoder=SMALL, game=TINY), (MODALITIES[recipe.source], MODALITIES[recipe.target])
    return CrossModalGAN(a, b, r, encoder_for(a, r.encoder, CLASSES), made_up_pairs(**more), encoder_for(b, r.encoder, CLASSES) if r.game.guide else None)


def both_ways(recipe):
    r = changed(recipe, encoder=SMALL | dict(plan=(('8/2', '8/2'),) * 2), game=TINY)
    return CMCGAN(r, made_up_pairs(), {m.name: encoder_for(m, r.encoder_of(m), CLASSES) for m in BOTH})


def encoder(modality, recipe): return EncoderTask(modality, changed(recipe.encoder, **SMALL), made_up_pairs(by_class=True))


TASKS = {
    'encoder of sounds': lambda: encoder(SOUND, S2I_C_GUIDED),
    'encoder of pitches': lambda: encoder(PICTURE, I2S_POSE_GUIDED),
    'S2I': lambda: game(CHEN_S2I),
    'S2I, any picture of the class': lambda: game(CHEN_S2I, by_class=True),
    'S2I+guide': lambda: game(S2I_C_GUIDED),
    'I2S of poses': lambda: game(I2S_POSE_GUIDED),
    'CMCGAN': lambda: both_ways(HAO),
    'CMCGAN+guide': lambda: both_ways(changed(CMCGAN_GUIDED, game=dict(K=2))),
    'judge': lambda: JudgeTask(without_dropout(Judge(1, CLASSES, 'sound', 4)), made_up_pairs(), batch=12),
    'probe of pose': lambda: ProbeTask(PoseNet(4), made_up_pairs(), batch=12),
    'probe of pitch': lambda: ProbeTask(without_dropout(PitchNet(8)), made_up_pairs(), batch=12),
    'fusion': lambda: FusionTask(('picture', 'sound'), changed(S2I_C_GUIDED.encoder, **SMALL), made_up_pairs()),
}


def made(name):
    with seeded(1): return TASKS[name]()


def train(name, steps=5, **more):
    run = fit(made(name), steps=steps, **quick | more)
    return [{k: v for k, v in row.items() if k != 'seconds'} for row in run.history]


def louder(net): return float(net.head.weight.square().sum())


def chosen(**more):
    run = choose(made('encoder of sounds'), 'E', louder, 6, 3, **quick | more)
    return [run.samples, run.averages['E'].head.weight.flatten().tolist()]


def judged(): return judge_for('sound', {k: made_up_pairs() for k in ('train', 'dev', 'test')}, steps=4).head[1].bias.tolist()


def child(out, rank):
    "What each of two processes does and tells; the second time they go on with a run that was killed."
    written, rename = [], os.replace
    os.replace = lambda a, b: (written.append(Path(b).name), rename(a, b))
    os.environ['AVGEN_CACHE'] = f'{out}/cache-{rank}'
    if (out / 'killed').exists(): told = dict(resumed=train('S2I', out=out / 'killed', resume=True), chosen=chosen(out=out / 'chosen', resume=True))
    else:
        told = {name: train(name) for name in TASKS} | dict(chosen=chosen(out=out / 'chosen'), judged=[judged(), judged()], written=written)
        (out / f'{rank}.json').write_text(json.dumps(told))
        many.wait_for_all()
        task, step = made('S2I'), CrossModalGAN.step
        def dies(self, batch, loop): return os.kill(os.getpid(), signal.SIGKILL) if loop.step == 3 else step(self, batch, loop)
        CrossModalGAN.step = dies
        fit(task, steps=5, out=out / 'killed', save_steps=2, **quick)
    (out / f'{rank}.json').write_text(json.dumps(told | dict(written=written)))


def launch(out, ends):
    with socket.socket() as s: s.bind(('127.0.0.1', 0)); port = s.getsockname()[1]
    code = 'import sys; sys.path.insert(0, sys.argv[2]); from test_processes import *; child(Path(sys.argv[1]), int(os.environ["RANK"]))'
    def start(rank):
        env = dict(PYTHONPATH=ROOT, OMP_NUM_THREADS=1, WORLD_SIZE=2, RANK=rank, LOCAL_RANK=rank, MASTER_ADDR='127.0.0.1', MASTER_PORT=port)
        return subprocess.Popen([sys.executable, '-c', code, out, Path(__file__).parent], env=os.environ | {k: str(v) for k, v in env.items()}, stderr=subprocess.PIPE, text=True)
    for c in [start(rank) for rank in (0, 1)]:
        _, err = c.communicate(timeout=240)
        assert c.returncode == ends, err
    return [json.loads((out / f'{rank}.json').read_text()) for rank in (0, 1)]


@pytest.fixture(scope='module')
def out(tmp_path_factory): return tmp_path_factory.mktemp('two')


@pytest.fixture(scope='module')
def two(out):
    told = launch(out, -signal.SIGKILL)
    killed = {p.name: p.read_bytes() for p in (out / 'killed').iterdir()}
    return told, launch(out, 0), killed


@pytest.mark.parametrize('name', TASKS)
def test_two_train_to_the_losses_of_one(name, two):
    one = train(name)
    for told in two[0]:
        assert len(told[name]) == len(one) == 5
        for a, b in zip(one, told[name]):
            assert a.keys() == b.keys()
            for k in a: assert b[k] == pytest.approx(a[k], rel=2e-3, abs=2e-3), (name, k, a, b)


@pytest.mark.parametrize('name', ['S2I', 'I2S of poses', 'CMCGAN+guide', 'probe of pitch'])
def test_float16_trains_every_kind_of_task(name):
    "What a GPU without bfloat16 computes in, here on the CPU: no loss overflows (sounds are varied in float32), the first is that of float32."
    one, half = train(name, 4), train(name, 4, precision='fp16')
    key = 'D' if 'D' in one[0] else 'loss'
    assert len(half) == 4 and half[0][key] == pytest.approx(one[0][key], rel=.01)


def test_the_first_step_is_the_same_to_the_last_digits(two):
    "Before any weight moved there is nothing to drift apart."
    for name in ('S2I', 'S2I+guide', 'CMCGAN', 'CMCGAN+guide'): assert two[0][0][name][0]['D'] == pytest.approx(train(name, 1)[0]['D'], rel=1e-5), name


def test_only_the_first_writes(two):
    (first, second), again, _ = two
    assert second['written'] == again[1]['written'] == [] and {Path(n).suffix for n in first['written']} == {'.safetensors'}
    assert sum('checkpoint' in n for n in first['written']) and sum('judge' in n for n in first['written'])


def test_both_choose_what_one_would(two, tmp_path):
    (looks, weights), (first, second, *again) = chosen(out=tmp_path), [told['chosen'] for told in two[0] + two[1]]
    assert first == second == again[0] == again[1] and [s for s, _ in first[0]] == [s for s, _ in looks]
    assert first[1] == pytest.approx(weights, abs=1e-4) and [v for _, v in first[0]] == pytest.approx([v for _, v in looks], rel=1e-4)


def test_a_judge_that_one_of_two_has_kept_is_trained_by_both(two):
    "The second process has a cache of its own, in which nothing was written: each asks the other before it begins."
    (a, b), (c, d) = (told['judged'] for told in two[0])
    assert a == c and b == d and a == pytest.approx(b, abs=1e-5)


def test_a_killed_run_goes_on_in_two_processes_and_in_one(two, tmp_path):
    _, (first, second), killed = two
    for name, data in killed.items(): (tmp_path / name).write_bytes(data)
    assert any('00000002' in name for name in killed)
    straight, alone = train('S2I'), train('S2I', out=tmp_path, resume=True)
    for told in (first['resumed'], second['resumed'], alone):
        assert [r['step'] for r in told] == [1, 2, 3, 4, 5]
        for a, b in zip(straight, told): assert b == pytest.approx(a, rel=2e-3, abs=2e-3)


def test_accelerate_that_starts_one_of_two_on_the_cpu_says_so(tmp_path):
    "It tells its child nothing of the number that was asked for, so we can only say that there is one."
    (tmp_path / 'train.py').write_text('from avgen_nb.loop import CloudGAN\nfrom avgen_nb.many import fit\nfit(CloudGAN(), steps=1, device="cpu", quiet=True)\nprint("trained")')
    told = subprocess.run([sys.executable, '-m', 'accelerate.commands.launch', '--cpu', '--num_processes', '2', tmp_path / 'train.py'],
                          env=os.environ | dict(PYTHONPATH=str(ROOT)), capture_output=True, text=True)
    assert told.stdout.count('trained') == 1 and told.stderr.count('accelerate launch started one process') == 1, told.stderr
