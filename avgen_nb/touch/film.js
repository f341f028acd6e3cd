// In an <audio> of a film: while it plays, show the frame of the moment in each sheet beside it.
audio => {
  const screens = audio.parentElement.querySelectorAll('[data-frames]');
  const draw = () => {
    for (const screen of screens) {
      const { frames, fps, columns, size } = screen.dataset;
      const k = Math.max(0, Math.min(frames - 1, Math.floor(audio.currentTime * fps + 1e-6)));
      screen.dataset.frame = k;
      screen.style.backgroundPosition = `-${k % columns * size}px -${Math.floor(k / columns) * size}px`;
    }
    if (!audio.paused && audio.isConnected) requestAnimationFrame(draw);
  };
  draw();
}
