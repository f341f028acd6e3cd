"""Train the codecs and the flows that come with the package; each part that is in the folder already is taken as it is.

    python scripts/ship_flows.py runs/flow                    # encoders, codecs, flows: some three hours of one core
    python scripts/ship_flows.py runs/flow --only codecs      # a part of it
    python scripts/ship_flows.py runs/flow --ship             # the codecs into the package
    python scripts/ship_models.py runs/flow/S2I-flow runs/flow/I2S-flow --command 'python scripts/ship_flows.py runs/flow'

Everything learns from the training songs of the built-in orchestra with four more looks a moment (lesson 03b).
"""
import argparse
from pathlib import Path

from links import ROOT

LOOKS = 4
EYE = ('32/2', 64, '128/2', 128, '256/2', 256, 'M')   # the encoder whose feature maps the codec of pictures is compared in


def encoder(out, name, modality, pairs, recipe, steps, net=None):
    "A trained encoder of moments: the one in the folder, or a new one."
    from avgen_nb.files import load_nets, save_nets
    from avgen_nb.moment import encoder_of_moments, moment_encoder
    path = out/f'{name}.safetensors'
    if not path.exists():
        E, minutes = moment_encoder(modality, pairs, recipe, net=net, out=out/name, resume=True, steps=steps)
        save_nets(path, dict(E=E), dict(minutes=minutes, steps=steps))
    nets, meta = load_nets(path, lambda meta: dict(E=encoder_of_moments(modality, recipe, pairs.classes, net)))
    return nets['E'].eval().requires_grad_(False), meta['minutes']


def codec(out, modality, pairs, eye):
    "A trained codec: the one in the folder, or a new one."
    from avgen_nb.codec import CODECS, load_codec, save_codec, train_codec
    from avgen_nb.files import in_bytes, out_of_bytes
    path = out/f'codec-{modality.name}.safetensors'
    if not path.exists():
        made, run = train_codec(CODECS[modality.name], pairs, eye, out=out/f'codec-{modality.name}', resume=True)
        made.load_state_dict(out_of_bytes(in_bytes(made.state_dict())))   # as it comes with the package: flows learn the very codes that they are used with
        save_codec(made, path, minutes=round(run.minutes, 1), steps=run.steps)
    return load_codec(path)


def flow(out, recipe, data, E, minutes_of_E, made, steps):
    "A trained flow in its own folder."
    from avgen_nb.files import nets_identity
    from avgen_nb.flow import Flow, FlowTask, reader_for
    from avgen_nb.loop import seeded
    from avgen_nb.many import fit
    from avgen_nb.judges import package_judge
    from avgen_nb.runs import keep_run, load_run, meta_of
    place = out/recipe.name
    if (place/'model.safetensors').exists(): return load_run(place)
    with seeded(0): task = FlowTask(recipe, data['train'], E, made)
    task.reader = reader_for(task, steps=2000, out=place/'reader', resume=True)
    run = fit(task, out=place/'flow', resume=True, average=recipe.average, steps=steps, save_minutes=3)
    about = dict(size=made.modality.size, code=made.code, width=made.width, packaged=True, identity=nets_identity(made))
    meta = meta_of(recipe, data, run, [minutes_of_E], 0, dict(data='orchestra'), codec=about, minutes_of_codec=made.meta['minutes'], looks=LOOKS)
    return keep_run(place, Flow(recipe, data['train'].classes, E, run.averages['F'], made, package_judge(made.modality.name), meta))


def main():
    from avgen_nb.flow import FLOWS, S2I_FLOW
    from avgen_nb.moment import MOMENT
    from avgen_nb.nets import PICTURE, SOUND, Encoder
    from avgen_nb.pairs import orchestra_pairs
    from avgen_nb.runs import changed
    p = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    p.add_argument('out', type=Path)
    p.add_argument('--only', default='', help='codecs, or the name of a flow')
    p.add_argument('--steps', type=int, help='of a flow')
    p.add_argument('--ship', action='store_true', help='put the codecs into the package')
    a = p.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    data = orchestra_pairs(looks=LOOKS)
    train = data['train']
    ear, of_ear = encoder(a.out, 'ear', SOUND, train, S2I_FLOW.encoder, S2I_FLOW.encoder.steps.cpu)
    if a.ship or a.only in ('', 'codecs'):
        seen = changed(MOMENT, plan=EYE)
        eye, _ = encoder(a.out, 'eye', PICTURE, train, seen, 1500, Encoder)
        made = [codec(a.out, PICTURE, train, eye), codec(a.out, SOUND, train, ear)]
        if a.ship: ship(made)
    for r in FLOWS.values():
        if a.ship or a.only not in ('', r.name): continue
        source = dict(sound=SOUND, picture=PICTURE)[r.source]
        E, minutes = (ear, of_ear) if source is SOUND else encoder(a.out, 'watcher', PICTURE, train, r.encoder, r.encoder.steps.cpu)
        flow(a.out, r, data, E, minutes, codec(a.out, dict(sound=SOUND, picture=PICTURE)[r.target], train, None), a.steps or r.steps.cpu)


def ship(codecs):
    "A byte a weight, into the package."
    from avgen_nb.codec import save_codec
    from ship_models import shrink
    for made in codecs:
        place = ROOT/'avgen_nb/models/codecs'
        place.mkdir(parents=True, exist_ok=True)
        save_codec(made, place/'full.safetensors', **{k: made.meta[k] for k in ('minutes', 'steps')})
        shrink(place/'full.safetensors', place/f'{made.modality.name}.safetensors')
        (place/'full.safetensors').unlink()


if __name__ == '__main__': main()
