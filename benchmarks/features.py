"LMS and CQT of 256 half-second windows beside librosa and torchaudio."
import numpy as np
import torch

from benchmarks.measure import Row, show_time, side_by_side


def waves(n=256, seed=0):
    "Windows of noise and tones; how long a transform takes does not depend on what it hears."
    g = torch.Generator().manual_seed(seed)
    t = torch.arange(22050) / 44100
    tone = torch.sin(2 * torch.pi * t * (100 + 1900 * torch.rand(n, 1, generator=g)))
    return .3 * tone + .05 * torch.randn(n, 22050, generator=g)


def lms_librosa(rounds):
    import librosa
    from avgen_nb.sound import lms
    x = waves()
    one = lambda w: librosa.power_to_db(librosa.feature.melspectrogram(y=w, sr=44100, n_fft=2048, hop_length=512, n_mels=128, pad_mode='constant'), amin=1e-10, top_db=None)
    a, b, ratio = side_by_side(lambda: lms(x), lambda: [one(w) for w in x.numpy()], rounds)
    return Row('lms-librosa', 'LMS of 256 half-second windows', show_time(a), f'librosa, one by one: {show_time(b)}', f'{ratio:.1f}×', 'at least 5×', ratio, ratio >= 5)


def lms_torchaudio(rounds):
    from torchaudio.transforms import AmplitudeToDB, MelSpectrogram
    from avgen_nb.sound import lms
    x = waves()
    theirs = torch.nn.Sequential(MelSpectrogram(44100, 2048, hop_length=512, n_mels=128, pad_mode='constant', norm='slaney', mel_scale='slaney'), AmplitudeToDB())
    a, b, ratio = side_by_side(lambda: lms(x), lambda: theirs(x), 2 * rounds, calls=2)
    return Row('lms-torchaudio', 'LMS of 256 half-second windows', show_time(a), f"torchaudio's transform: {show_time(b)}", f'{ratio:.1f}×', 'at least 1.5×', ratio, ratio >= 1.5)


def cqt_librosa(rounds):
    import librosa
    from avgen_nb.sound import cqt
    x = waves()
    one = lambda w: np.abs(librosa.cqt(w, sr=44100, hop_length=512))
    a, b, ratio = side_by_side(lambda: cqt(x), lambda: [one(w) for w in x.numpy()], max(2, rounds // 2))
    return Row('cqt-librosa', 'CQT of 256 half-second windows', show_time(a), f'librosa, one by one: {show_time(b)}', f'{ratio:.1f}×', 'at least 5×', ratio, ratio >= 5)
