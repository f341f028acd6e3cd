"""Does every training step stay on one device? Tried without a GPU, on torch's `meta` device: it has shapes and no numbers,
and refuses to mix with the CPU as a GPU does."""
import contextlib

import pytest
import torch
from torch import nn

from avgen_nb import nets
from avgen_nb.cgan import CHEN_I2S, CHEN_S2I, I2S_GUIDED, I2S_POSE_GUIDED, S2I_C_GUIDED, S2I_POSE_GUIDED, CrossModalGAN, EncoderTask, Generator, encoder_for
from avgen_nb.chen import AutoencoderTask, SquareGAN
from avgen_nb.cmcgan import BOTH, CMCGAN, CMCGAN_GUIDED, HAO
from avgen_nb.judges import Judge, JudgeTask
from avgen_nb.missing import FusionTask
from avgen_nb.nets import MODALITIES, PICTURE, SOUND
from avgen_nb.pairs import Batch, Pairs
from avgen_nb.probes import PitchNet, PoseNet, ProbeTask
from avgen_nb.runs import changed
from avgen_nb.loop import Budget, Loop, Place, at_work, home_of, place_nets
from avgen_nb.many import fit

CLASSES = ('flute', 'tuba', 'violin')
SMALL = dict(batch=12, hidden=(16,), keep=(.8,), plan=('8/2', '8/2'), norm=True)
TINY = dict(width=4, batch=12)


def made_up_pairs(n=48):
    g = torch.Generator().manual_seed(0)
    label, every = torch.arange(n) % 3, torch.arange(n)
    truth = dict(pitch=50 + 10 * torch.rand(n, generator=g), keypoints=torch.rand(n, 12, 2, generator=g))
    return Pairs(torch.randint(256, (n, 3, 64, 64), generator=g, dtype=torch.uint8), torch.rand(n, 1, 128, 44, generator=g).half() * 2 - 1,
                 label, label, every // 8, CLASSES, every, every, truth=truth)


def game(recipe, kind=CrossModalGAN):
    recipe, (a, b) = changed(recipe, encoder=SMALL, game=TINY), (MODALITIES[recipe.source], MODALITIES[recipe.target])
    guide = encoder_for(b, recipe.encoder, CLASSES) if recipe.game.guide else None
    return kind(a, b, recipe, encoder_for(a, recipe.encoder, CLASSES), made_up_pairs(), guide)


def both(recipe):
    recipe = changed(recipe, encoder=SMALL | dict(plan=(('8/2', '8/2'),) * 2), game=TINY)
    return CMCGAN(recipe, made_up_pairs(), {m.name: encoder_for(m, recipe.encoder_of(m), CLASSES) for m in BOTH})


TASKS = {r.name: lambda r=r: game(r) for r in (S2I_C_GUIDED, I2S_GUIDED, CHEN_S2I, CHEN_I2S, S2I_POSE_GUIDED, I2S_POSE_GUIDED)} | {
    'cmcgan': lambda: both(CMCGAN_GUIDED),
    'cmcgan of the paper': lambda: both(HAO),
    'square': lambda: game(I2S_GUIDED, SquareGAN),
    'encoder of sounds': lambda: EncoderTask(SOUND, changed(S2I_C_GUIDED.encoder, **SMALL), made_up_pairs()),
    'encoder of pitches': lambda: EncoderTask(PICTURE, changed(I2S_POSE_GUIDED.encoder, **SMALL), made_up_pairs()),
    'autoencoder': lambda: AutoencoderTask(SOUND, changed(S2I_C_GUIDED.encoder, **SMALL), made_up_pairs()),
    'fusion': lambda: FusionTask(('picture', 'sound'), changed(S2I_C_GUIDED.encoder, **SMALL), made_up_pairs()),
    'judge of sounds': lambda: JudgeTask(Judge(1, CLASSES, 'sound', 4), made_up_pairs(), batch=12),
    'judge of pictures': lambda: JudgeTask(Judge(3, CLASSES, 'picture', 4), made_up_pairs(), batch=12),
    'probe of pitch': lambda: ProbeTask(PitchNet(8), made_up_pairs()),
    'probe of pose': lambda: ProbeTask(PoseNet(8), made_up_pairs()),
}


@pytest.fixture
def elsewhere(monkeypatch):
    "The meta device, with the four things that it cannot do done in its place."
    true = torch.Tensor.__bool__
    monkeypatch.setattr(torch.Tensor, '__bool__', lambda x: True if x.is_meta else true(x))
    monkeypatch.setattr(nets, '_near', lambda x, generator: None)                      # it has no generators
    monkeypatch.setattr('avgen_nb.loop.Losses.guard', lambda *a: None)              # no numbers to look at
    monkeypatch.setattr(Loop, 'autocast', lambda loop: contextlib.nullcontext())         # and no precision
    return torch.device('meta')


class There:
    "Pairs whose batches and truth are on a device. (`Pairs` itself looks at its numbers.)"
    def __init__(self, pairs, device): self.pairs, self.device, self.truth = pairs, device, {k: v.to(device) for k, v in pairs.truth.items()}
    def __getattr__(self, name): return getattr(self.pairs, name)
    def batch(self, index, generator=None): return Batch(*(x.to(self.device) for x in self.pairs.batch(index, generator)))


def one_step(task, device):
    loop = Loop(task, Budget(steps=1), Place(device))
    held = {k: v for k, v in vars(task).items() if callable(getattr(v, 'to', None))}
    for k, v in held.items(): setattr(task, k, There(v, device) if isinstance(v, Pairs) else v.to(device))
    place_nets(loop)
    loop.begin()
    return task.step(task.draw(loop), loop)


@pytest.mark.parametrize('name', TASKS)
def test_a_step_stays_on_the_device(name, elsewhere):
    losses = one_step(TASKS[name](), elsewhere)
    assert losses and all(torch.as_tensor(x).device.type == 'meta' for x in losses.values()), 'every loss was computed there'


def test_what_is_left_behind_is_noticed(elsewhere):
    "The test above can fail: a frozen net that stays on the CPU stops the step."
    task = game(S2I_C_GUIDED)
    task.held = [task.__dict__.pop('E')]                  # out of reach
    type(task).E = property(lambda self: self.held[0])
    try:
        with pytest.raises((RuntimeError, NotImplementedError)): one_step(task, elsewhere)
    finally: del type(task).E


def test_after_a_run_everything_is_where_it_was():
    task = game(S2I_C_GUIDED)
    pairs = task.pairs
    run = fit(task, steps=1, device='cpu', quiet=True, average=.9)
    assert task.pairs is pairs and {home_of(net).type for net in (task.E, task.guide, *run.nets.values(), *run.averages.values())} == {'cpu'}


def test_a_failed_run_brings_everything_home():
    class Parcel:
        def __init__(self, place=None): self.place = place
        def to(self, device): return Parcel(device)
    class Task:
        def __init__(self): self.nets, self.parcel = dict(net=nn.Linear(1, 1)), Parcel()
    task = Task()
    with pytest.raises(KeyboardInterrupt), at_work(task, 'cpu'):
        assert task.parcel.place == 'cpu'
        raise KeyboardInterrupt
    assert task.parcel.place is None


def test_a_generator_answers_where_it_is_asked(elsewhere):
    "Its nets on another device than what it is given, and on two."
    g = game(S2I_C_GUIDED)
    model = Generator(g.recipe, CLASSES, g.E.to(elsewhere), g.nets['G'].to(elsewhere))
    assert model.code(torch.zeros(2, 1, 128, 44)).device == elsewhere
    assert model.make(torch.zeros(2, 1, 128, 44, device=elsewhere)).shape == (2, 3, 64, 64)
