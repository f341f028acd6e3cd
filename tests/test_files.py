"Tensors and nets on disk: every type comes back, and what is told of a run is compared to the last word."
import pytest, torch
from torch import nn

from avgen_nb.files import check_told, checkpoints, flattened, latest_checkpoint, in_bytes, load_nets, out_of_bytes, read_tensors, save_nets, write_checkpoint, write_tensors
from test_training import DropGAN


def test_every_type_of_tensor_comes_back(tmp_path):
    some = dict(a=torch.randn(3, 4).bfloat16(), b=torch.tensor(5), c=torch.zeros(0, 2), d=torch.tensor([True, False]), e=torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
                f=torch.randn(4, 4).t(), g=torch.arange(5, dtype=torch.uint8), h=torch.tensor([float('nan'), 1.]))
    some['i'] = some['a']                                    # shared memory
    write_tensors(tmp_path / 'x', some, dict(text='ünï "quotes"', deep=[1, None, dict(x=1.5)]), 'nets')
    back, meta = read_tensors(tmp_path / 'x', 'nets')
    assert meta == dict(text='ünï "quotes"', deep=[1, None, dict(x=1.5)])
    assert all(torch.equal(back[k].nan_to_num(7) if k == 'h' else back[k], v.nan_to_num(7) if k == 'h' else v) and back[k].dtype == v.dtype for k, v in some.items())

def test_save_and_load_nets(tmp_path):
    nets = DropGAN().nets
    save_nets(tmp_path / 'n.safetensors', nets, dict(classes=['a']))
    tensors, meta = load_nets(tmp_path / 'n.safetensors')
    other = {k: v for k, v in DropGAN().nets.items()}
    for p in other['G'].parameters(): nn.init.zeros_(p)
    for k, net in other.items(): net.load_state_dict(tensors[k])
    assert meta == dict(classes=['a']) and all(torch.equal(a, b) for k in nets for a, b in zip(nets[k].state_dict().values(), other[k].state_dict().values()))


def test_a_byte_a_weight_comes_back_rounded(tmp_path):
    some = {'G/w': torch.randn(8, 3, 5, 5), 'G/b': torch.randn(8), 'G/none': torch.zeros(4, 3), 'G/n': torch.tensor(3)}
    small = in_bytes(some)
    assert small['G/w'].dtype == torch.int8 and small['G/w:scale'].shape == (8, 1, 1, 1) and small['G/b'].dtype == torch.float16
    write_tensors(tmp_path / 'x', small, {}, 'nets')
    back, _ = load_nets(tmp_path / 'x')
    step = some['G/w'].abs().amax((1, 2, 3), keepdim=True) / 127
    assert ((back['G']['w'] - some['G/w']).abs() <= .5001 * step).all() and back['G']['none'].abs().max() == 0 and back['G']['n'] == 3
    assert all(torch.equal(a, b) for a, b in zip(out_of_bytes(in_bytes(out_of_bytes(small))).values(), out_of_bytes(small).values())), 'twice is once'
    assert out_of_bytes(some).keys() == some.keys()


# ---------------------------------------------------------------- checkpoint files
def test_the_last_are_kept_and_the_first_that_fits_is_found(tmp_path):
    for step in (1, 2, 30): write_checkpoint(tmp_path, step, dict(w=torch.ones(2)), dict(step=step), keep=2)
    assert [int(p.stem.split('-')[1]) for p in checkpoints(tmp_path)] == [30, 2]
    def none(path, tensors, meta): raise ValueError(f'{path} is of another run')
    with pytest.raises(ValueError, match='00000030.*another run'): latest_checkpoint(tmp_path, none)
    assert latest_checkpoint(tmp_path)[2] == dict(step=30) and latest_checkpoint(tmp_path / 'none') is None

def test_what_is_told_is_compared_deep_down():
    told = dict(recipe=dict(width=8, game=dict(match=300)), seed=0)
    assert flattened(told) == {'recipe width': 8, 'recipe game match': 300, 'seed': 0}
    check_told('f', told, told)
    with pytest.raises(ValueError, match='^f is of another run: its recipe game match is 300, not None, its seed is 0, not 1; '):
        check_told('f', told, dict(recipe=dict(width=8), seed=1))
