// In an <audio>: while it plays, show the frame of the moment in the sheet before it.
audio => {
  const screen = audio.previousElementSibling, { frames, size } = screen.dataset;
  const draw = () => {
    const k = Math.max(0, Math.min(frames - 1, Math.floor(audio.currentTime * 10 + 1e-6)));
    screen.dataset.frame = k;
    screen.style.backgroundPosition = `-${k % 20 * size}px -${Math.floor(k / 20) * size}px`;
    if (!audio.paused && audio.isConnected) requestAnimationFrame(draw);
  };
  draw();
}
