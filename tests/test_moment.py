"Encoders of moments: every part by hand, joints that move with the picture, data that know less."
import pytest
import torch

from avgen_nb.moment import MOMENT, MomentTask, PoseEncoder, encoder_of_moments, known_moments, moment_encoder, moment_losses, moment_size
from avgen_nb.moment import Alike, as_shares, read_moment, say_often, vary_heard, vary_posed
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


def test_shares_are_what_is_said():
    said = torch.zeros(1, moment_size('abc'))
    said[0, 1], said[0, 3 + 60], said[0, -3:] = 50., 50., torch.tensor([.3, .4, -.5])
    shares = as_shares(said, 'abc')
    assert shares[0, 1] == 1 and shares[0, 3 + 60] == 1 and shares.sum() == pytest.approx(2.2) and torch.equal(shares[0, -3:], said[0, -3:])


def test_a_varied_sound_keeps_its_semitone():
    from avgen_nb.sound import lms, midi_to_hz
    hz = float(midi_to_hz(69))
    wave = .3 * torch.sin(torch.arange(22050 // 2) / 22050 * 2 * torch.pi * hz)
    x = lms(wave[None]).expand(40, -1, -1, -1)
    peak = lambda x: x[:, 0].mean(2).argmax(1)
    heard, _ = vary_heard(x, None, torch.Generator().manual_seed(0), 1.)
    far = SOUND.vary(x, torch.Generator().manual_seed(0), 1.)
    assert (peak(heard) - peak(x)).abs().max() <= 1 and (peak(far) - peak(x)).abs().float().mean() > (peak(heard) - peak(x)).abs().float().mean()


def test_a_sound_that_is_moved_is_another_note():
    from avgen_nb.sound import lms, midi_to_hz
    tones = lambda notes: lms(torch.stack([.3 * torch.sin(torch.arange(22050) / 44100 * 2 * torch.pi * float(midi_to_hz(n))) for n in notes]))
    peak = lambda x: x[:, 0].mean(2).argmax(1)
    x = tones([69.] * 20)
    heard, truth = vary_heard(x, dict(pitch=torch.full((20,), 69.)), torch.Generator().manual_seed(0), 0.)
    assert len(truth['pitch'].unique()) > 5 and (peak(heard) - peak(tones(truth['pitch'].tolist()))).abs().max() <= 1
    assert torch.equal(vary_heard(x, None, torch.Generator(), 0.)[0], x)


@pytest.mark.parametrize('modality', (PICTURE, SOUND))
def test_what_is_said_often_is_the_mean_and_does_not_hang_on_neighbours(modality):
    E = encoder_of_moments(modality, TINY, 'ab').eval()
    x = torch.rand(3, *modality.shape) * 2 - 1
    with torch.no_grad():
        assert torch.equal(say_often(E, modality, x, 'ab', 0, 1.), as_shares(E(x), 'ab'))
        whole = say_often(E, modality, x, 'ab', 3, .5)
        alike, told = Alike(), as_shares(E(x[1:2]), 'ab')
        for _ in range(3): told = told + as_shares(E(modality.vary_posed(x[1:2], None, alike, .5)[0]), 'ab')
    assert torch.allclose(whole[1:2], told / 4, atol=1e-5) and not torch.allclose(whole, as_shares(E(x), 'ab'), atol=1e-6)
    assert torch.allclose(whole[:, :2].sum(1), torch.ones(3))


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
        y, moved = vary_posed(x, dict(keypoints=point), torch.Generator().manual_seed(seed), .8)
        bright = y[0].mean(0)
        row, column = divmod(int(bright.argmax()), 64)
        assert (moved['keypoints'][0, 0] - torch.tensor([column + .5, row + .5]) / 64).abs().max() < .04


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
