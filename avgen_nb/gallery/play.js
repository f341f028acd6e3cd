'use strict';
document.documentElement.classList.add('js');

// One sound at a time, whichever was started last.
document.addEventListener('play', started => {
  for (const audio of document.querySelectorAll('audio')) if (audio !== started.target) audio.pause();
}, true);

// Short sounds: a button over the spectrogram, with a cursor that runs through it.
for (const button of document.querySelectorAll('.play')) {
  const audio = button.parentElement.querySelector('audio'), cursor = button.querySelector('i');
  const name = button.getAttribute('aria-label');
  const tick = () => {
    cursor.style.left = 100 * audio.currentTime / (audio.duration || 1) + '%';
    if (!audio.paused) requestAnimationFrame(tick);
  };
  const show = on => {
    button.classList.toggle('on', on);
    button.setAttribute('aria-label', on ? name.replace('Play', 'Stop') : name);
  };
  button.addEventListener('click', () => {
    if (!audio.paused) return audio.pause();
    audio.currentTime = 0;
    audio.play();
  });
  audio.addEventListener('play', () => { show(true); tick(); });
  audio.addEventListener('pause', () => show(false));
  audio.addEventListener('ended', () => show(false));
}

// Films: the frame shown is the frame of the audio's own clock.
for (const film of document.querySelectorAll('.film')) {
  const { fps, frames, columns, size } = Object.fromEntries(Object.entries(film.dataset).map(([k, v]) => [k, Number(v)]));
  const tracks = [...film.querySelectorAll('.track')];
  const screens = [...film.querySelectorAll('canvas')].map(canvas => ({ canvas, pen: canvas.getContext('2d'), sheet: new Image() }));
  const clock = film.querySelector('.clock');
  let leader = tracks[0].querySelector('audio');

  const draw = () => {
    const time = leader.currentTime, frame = Math.min(frames - 1, Math.floor(time * fps + 1e-6));
    film.dataset.frame = frame;
    for (const { canvas, pen, sheet } of screens) {
      if (!sheet.complete || !sheet.naturalWidth) continue;
      pen.imageSmoothingQuality = 'high';
      pen.drawImage(sheet, frame % columns * size, Math.floor(frame / columns) * size, size, size, 0, 0, canvas.width, canvas.height);
      canvas.dataset.frame = frame;
    }
    for (const track of tracks) {
      const audio = track.querySelector('audio');
      track.querySelector('.cursor').style.left = 100 * Math.min(1, time / (audio.duration || Number(audio.dataset.seconds))) + '%';
    }
    clock.textContent = `${time.toFixed(1)} s · frame ${frame + 1} of ${frames}`;
  };
  const tick = () => { draw(); if (!leader.paused) requestAnimationFrame(tick); };

  for (const screen of screens) { screen.sheet.onload = draw; screen.sheet.src = screen.canvas.dataset.sheet; }
  for (const track of tracks) {
    const audio = track.querySelector('audio'), roll = track.querySelector('.roll');
    audio.addEventListener('play', () => {
      if (leader !== audio && leader.currentTime < leader.duration) audio.currentTime = leader.currentTime;
      leader = audio;
      requestAnimationFrame(tick);
    });
    for (const change of ['seeked', 'pause', 'ended', 'loadedmetadata'])
      audio.addEventListener(change, () => { if (change === 'seeked') leader = audio; draw(); });
    roll.addEventListener('click', e => {
      const box = roll.getBoundingClientRect();
      leader = audio;
      audio.currentTime = (e.clientX - box.left) / box.width * audio.duration;
      if (audio.paused) audio.play();
    });
  }
}
