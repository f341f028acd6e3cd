// In a ring over a picture: tell Python where the pointer takes it, ten times a second, until it is let go.
(ring, event) => {
  const field = ring.closest('.avgen')?.querySelector('.avgen-drag textarea'), box = ring.ownerSVGElement.getBoundingClientRect();
  if (!field) return;
  let told = 0;
  const go = e => {
    if (e.type === 'pointermove' && e.timeStamp - told < 100) return;
    told = e.timeStamp;
    field.value = [ring.dataset.joint, (e.clientX - box.left) / box.width, (e.clientY - box.top) / box.height, told].join(' ');
    field.dispatchEvent(new Event('change', { bubbles: true }));
  };
  const end = e => {
    if (e.type === 'pointerup') go(e);
    for (const kind of ['pointermove', 'pointerup', 'pointercancel']) window.removeEventListener(kind, kind === 'pointermove' ? go : end);
  };
  window.addEventListener('pointermove', go);
  window.addEventListener('pointerup', end);
  window.addEventListener('pointercancel', end);
  event.preventDefault();
}
