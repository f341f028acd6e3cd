"Encoders of moments: every part by hand, joints that move with the picture, data that know less."
import pytest
import torch

from avgen_nb.moment import MOMENT, MomentTask, PoseEncoder, encoder_of_moments, known_moments, moment_encoder, moment_losses, moment_size
from avgen_nb.moment import read_moment, vary_posed
from avgen_nb.nets import PICTURE, SOUND, Encoder
from avgen_nb.pairs import orchestra_pairs
from avgen_nb.runs import changed
from test_cgan import made_up_pairs

TINY = changed(MOMENT, plan=('8/2', '8/2'), hidden=(16,), batch=8)


@pytest.fixture(scope='module')
def world(): return orchestra_pairs('small', progress=False)


def test_parts_come_in_their_order():
    said = torch.arange(3 + 131.)[None]
    name, note, loud, stroke = read_moment(said, 'abc')
    assert name.tolist() == [[0, 1, 2]] and note[0, 0] == 3 and loud.tolist() == [131] and stroke.tolist() == [[132, 133]]


def test_a_rest_teaches_no_stroke():
    said, label = torch.randn(2, moment_size('ab')), torch.tensor([0, 1])
    truth = dict(pitch=torch.tensor([60., torch.nan]), loudness=torch.zeros(2), phase=torch.tensor([.1, .2]))
    other = truth | dict(phase=torch.tensor([.1, .9]))
    assert moment_losses(said, label, truth, 'ab')['stroke'] == moment_losses(said, label, other, 'ab')['stroke']
    assert moment_losses(said, label, truth, 'ab')['stroke'] != moment_losses(said, label, truth | dict(phase=torch.tensor([.6, .2])), 'ab')['stroke']


def test_data_that_know_no_pitch_teach_the_instrument_alone():
    assert list(moment_losses(torch.randn(2, moment_size('ab')), torch.tensor([0, 1]), {}, 'ab')) == ['name']
    pairs = made_up_pairs()
    pairs.truth.clear()
    for modality in (PICTURE, SOUND):
        E, minutes = moment_encoder(modality, pairs, TINY, steps=2, quiet=True)
        assert E.code(torch.zeros(1, *modality.shape)).shape == (1, 64) and minutes > 0


def test_joints_follow_the_picture():
    x = -torch.ones(1, 3, 64, 64)
    x[..., 20:23, 40:43] = 1
    point = torch.tensor([[[41.5 / 64, 21.5 / 64]]])
    for seed in range(5):
        y, moved = vary_posed(x, point, torch.Generator().manual_seed(seed), .8)
        bright = y[0].mean(0)
        row, column = divmod(int(bright.argmax()), 64)
        assert (moved[0, 0] - torch.tensor([column + .5, row + .5]) / 64).abs().max() < .04


def test_code_and_forward_agree():
    E = PoseEncoder(PICTURE, 7).eval()
    x = torch.rand(2, 3, 64, 64)
    assert torch.equal(E(x), E.head(E.code(x).relu()))


def test_training_lowers_the_loss_of_both_senses(world):
    from avgen_nb.training import fit
    from avgen_nb.loop import seeded
    for modality in (PICTURE, SOUND):
        with seeded(0): task = MomentTask(modality, TINY, world['train'])
        run = fit(task, steps=30, quiet=True, log_every=1, precision='fp32')
        mean = lambda part: sum(h['loss'] for h in part) / len(part)
        assert mean(run.history[-5:]) < mean(run.history[:5])
        assert ('joints' in run.history[0]) == (modality is PICTURE)


def test_what_an_encoder_knows_is_counted_by_instrument(world):
    pairs = world['test']
    class Oracle:
        at = 0
        def __call__(self, x):
            said, index = torch.zeros(len(x), moment_size(pairs.classes)), torch.arange(self.at, self.at + len(x))
            self.at += len(x)
            said[torch.arange(len(x)), pairs.labels[index]] = 1
            note = pairs.truth['pitch'][index].nan_to_num(0).round().long() + (pairs.labels[index] == 1) * 5
            said[torch.arange(len(x)), len(pairs.classes) + note] = 1
            return said
    found = known_moments(Oracle(), SOUND, pairs)
    assert found.pop('') == 1 and found.pop(pairs.classes[1]) == 0 and set(found.values()) == {1}


def test_another_net_may_read_a_modality(world):
    assert isinstance(encoder_of_moments(PICTURE, MOMENT, world['train'].classes, Encoder), Encoder)
    assert isinstance(encoder_of_moments(PICTURE, MOMENT, world['train'].classes), PoseEncoder)
