"""One S2I training step, width 64, batch 64, beside a plain float32 loop of the same nets.

The plain loop is what one writes first: it runs the discriminator on the real pair, on the wrong pair and on the fake pair,
and lets autograd work out every gradient. The package's step sends each real picture through the discriminator's trunk once,
works out only the gradients it uses, keeps pictures channels-last, and takes the precision that this machine is fast at."""
import copy
import statistics

import torch

from benchmarks.data import made_up_pairs
from benchmarks.measure import Row, seconds, show_time, side_by_side


def game(pairs, width=64, batch=64):
    "The paper's S2I, untrained, and the loop that steps it."
    from dataclasses import replace
    from avgen_nb.cgan import CHEN_S2I, CrossModalGAN
    from avgen_nb.nets import PICTURE, SOUND, Encoder
    from avgen_nb.training import Loop, Processes, pick_precision
    torch.manual_seed(0)
    recipe, processes = replace(CHEN_S2I, width=width, batch=batch), Processes()
    encoder = Encoder(SOUND, len(pairs.classes), recipe.plan, recipe.norm, recipe.hidden, recipe.phi, recipe.keep)
    task = CrossModalGAN(SOUND, PICTURE, recipe, encoder.to(processes.device), pairs.to(processes.device))
    for net in task.nets.values(): net.to(processes.device, memory_format=torch.channels_last).train()
    return task, Loop(task, processes, pick_precision('auto', processes.device), seed=0)


def our_step(pairs, width=64):
    "The package's step, data included."
    task, loop = game(pairs, width)
    def step():
        losses = task.step(task.draw(loop), loop)
        loop.step += 1
        return losses
    return step


class PlainLoop:
    "The same nets from the same weights, float32, three passes of D, no care taken."
    def __init__(self, task):
        plain = lambda net: copy.deepcopy(net).to(memory_format=torch.contiguous_format)
        self.E, self.G, self.D, self.recipe, self.pairs = plain(task.E), plain(task.nets['G']), plain(task.nets['D']), task.recipe, task.pairs
        self.opt_g = torch.optim.Adam(self.G.parameters(), self.recipe.rates[0], self.recipe.betas)
        self.opt_d = torch.optim.Adam(self.D.parameters(), self.recipe.rates[1], self.recipe.betas)
        self.generator = torch.Generator().manual_seed(0)

    def draw(self):
        "A batch as the first step of a naive loop would make it."
        index = self.pairs.draw(self.recipe.batch, self.generator)
        other = self.pairs.draw_wrong(index, self.generator)
        real = self.pairs.pictures[self.pairs.picture_of[index]].float() / 127.5 - 1
        sound, wrong = (self.pairs.sounds[self.pairs.sound_of[i]].float() for i in (index, other))
        with torch.no_grad(): phi, phi_wrong = self.E.code(sound), self.E.code(wrong)
        return real, phi, phi_wrong, torch.randn(len(real), self.recipe.z, generator=self.generator).to(real.device)

    def step(self, batch=None):
        real, phi, wrong, z = batch or self.draw()
        bce = torch.nn.functional.binary_cross_entropy_with_logits
        fake = self.G(torch.cat([phi, z], 1))
        s_r, s_w, s_f = self.D(real, phi), self.D(real, wrong), self.D(fake.detach(), phi)
        one, nought = torch.ones_like(s_r), torch.zeros_like(s_r)
        loss_d = bce(s_r, one) + (bce(s_w, nought) + bce(s_f, nought)) / 2
        self.opt_d.zero_grad(); loss_d.backward(); self.opt_d.step()
        loss_g = bce(self.D(fake, phi), one)
        self.opt_g.zero_grad(); loss_g.backward(); self.opt_g.step()
        return dict(D=loss_d.detach(), G=loss_g.detach())


def losses_differ(pairs):
    "Largest relative difference of the two steps' losses, from the same weights, pictures, codes and noise."
    task, loop = game(pairs)
    plain = PlainLoop(task)
    real, phi, label = task.draw(loop)
    twin = copy.copy(loop)
    twin.generator = torch.Generator()
    twin.generator.set_state(loop.generator.get_state())
    from avgen_nb.cgan import mismatched
    wrong = phi[mismatched(label, twin.generator)]
    z = twin.randn(len(phi), task.recipe.z)
    theirs = plain.step((real.contiguous(), phi, wrong, z))
    ours = task.step((real, phi, label), loop)
    return max(abs(float(ours[k]) / float(theirs[k]) - 1) for k in theirs)


def s2i_step(rounds):
    pairs = made_up_pairs(1300)
    differ = losses_differ(pairs)
    task, loop = game(pairs)
    plain = PlainLoop(task)
    a, b, ratio = side_by_side(lambda: task.step(task.draw(loop), loop), plain.step, 2 * rounds, calls=2)
    return Row('s2i-step', f'S2I training step, width 64, batch 64, {loop.precision} (losses differ by {100*differ:.2g} %)', show_time(a),
               f'plain float32 loop, D three times: {show_time(b)}', f'{ratio:.2f}×', 'at least 1.8×', ratio, ratio >= 1.8)


def data_share(rounds):
    pairs = made_up_pairs(14_000)
    task, loop = game(pairs)
    fetch = lambda: (task.pairs.batch(loop.draw(task.pairs, task.recipe.batch), loop.generator))
    whole, part, shares = [], [], []
    for i in range(2 * rounds + 1):
        d, s = seconds(fetch), seconds(lambda: task.step(task.draw(loop), loop))
        if i: part.append(d), whole.append(s), shares.append(d / s)
    share = statistics.median(shares)
    return Row('data-share', 'drawing and fetching a batch, as a share of the S2I step', show_time(statistics.median(part)),
               f'whole step: {show_time(statistics.median(whole))}', f'{100*share:.1f} %', 'under 5 %', share, share < .05)
