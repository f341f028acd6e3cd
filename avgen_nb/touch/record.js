// In a button: the first press records from the microphone, the next one (or ten seconds) stops and hands the sound to Python.
async button => {
  const field = button.closest('.avgen').querySelector('.avgen-record textarea'), say = text => { button.nextElementSibling.textContent = text; };
  if (button.recorder) return button.recorder.stop();
  try {
    const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    const stream = await navigator.mediaDevices.getUserMedia({ audio: plain }), parts = [];
    const recorder = button.recorder = new MediaRecorder(stream);
    recorder.ondataavailable = e => parts.push(e.data);
    recorder.onstop = async () => {
      button.recorder = null;
      button.textContent = 'Record';
      for (const track of stream.getTracks()) track.stop();
      const context = new AudioContext({ sampleRate: 44100 });
      try {
        const heard = (await context.decodeAudioData(await new Blob(parts).arrayBuffer())).getChannelData(0);
        const bytes = new Uint8Array(Int16Array.from(heard, v => 32767 * Math.max(-1, Math.min(1, v))).buffer);
        let text = '';
        for (let k = 0; k < bytes.length; k += 32768) text += String.fromCharCode(...bytes.subarray(k, k + 32768));
        say(`${(heard.length / 44100).toFixed(1)} s recorded`);
        field.value = btoa(text);
        field.dispatchEvent(new Event('change', { bubbles: true }));
      } catch (e) { say(`The recording cannot be read: ${e.message}.`); }
      context.close();
    };
    recorder.start();
    button.textContent = 'Stop';
    say('recording, at most 10 s …');
    setTimeout(() => recorder.state === 'recording' && recorder.stop(), 10000);
  } catch (e) { say(`No microphone: ${e.message || e}. Choose a file instead.`); }
}
