// One clip: its waveform and spectrogram under the words that were heard in it, with a playhead; mouse or keyboard.
const MARGIN_S = 0.02;

function samplesOf(wav) {
  const view = new DataView(wav.buffer, wav.byteOffset, wav.byteLength);
  let at = 12;
  while (at + 8 < view.byteLength && view.getUint32(at, false) !== 0x64617461) at += 8 + view.getUint32(at + 4, true);
  const n = Math.floor((view.byteLength - at - 8) / 2), found = new Float32Array(Math.max(n, 0));
  for (let i = 0; i < n; i++) found[i] = view.getInt16(at + 8 + 2 * i, true) / 32768;
  return found;
}

function render({ model, el }) {
  el.classList.add("wb", "wb-player");
  el.innerHTML = `<div class="wb-transport"><button type="button" class="wb-play" aria-label="play">▶</button>
    <span class="wb-now">0:00.0</span><input type="range" min="0" max="1000" value="0" class="wb-seek" aria-label="position in the clip"><span class="wb-end"></span></div>
    <div class="wb-strip"><div class="wb-words"></div><canvas class="wb-wave" role="img" aria-label="waveform"></canvas><div class="wb-axis wb-soft"></div>
    <canvas class="wb-spectrum" role="img" aria-label="spectrogram, low sounds at the bottom"></canvas><div class="wb-head" hidden></div></div><audio></audio><p class="wb-note" hidden></p>`;
  const find = (name) => el.querySelector(name);
  const [play, now, seek, end, strip, words, wave, axis, spectrum, head, sound, note] =
    [".wb-play", ".wb-now", ".wb-seek", ".wb-end", ".wb-strip", ".wb-words", ".wb-wave", ".wb-axis", ".wb-spectrum", ".wb-head", "audio", ".wb-note"].map(find);
  let samples = new Float32Array(), address = "", until = Infinity, frame = 0;
  const length = () => model.get("duration_s") || 1;
  const written = (s) => `${Math.floor(s / 60)}:${(s % 60).toFixed(1).padStart(4, "0")}`;
  const probe = document.createElement("i"); // a canvas does not understand light-dark(), a style does
  probe.hidden = true; el.append(probe);
  const colour = (name) => { probe.style.color = `var(${name})`; return getComputedStyle(probe).color; };

  const place = () => {
    const at = Math.min(sound.currentTime, length());
    now.textContent = written(at);
    if (document.activeElement !== seek || !sound.paused) seek.value = String(Math.round(1000 * at / length()));
    head.style.left = `${100 * at / length()}%`;
    el.dataset.at = at.toFixed(2);
  };
  const follow = () => {
    if (sound.currentTime >= until) sound.pause();
    place();
    if (!sound.paused) frame = requestAnimationFrame(follow);
  };
  const count = () => { el.dataset.played = String(Number(el.dataset.played || 0) + 1); };
  const start = (from, to = Infinity) => {
    if (from !== undefined) sound.currentTime = from;
    until = to;
    if (!sound.paused) count();
    sound.play().catch((error) => { el.dataset.refused = error.name; });
  };
  const toggle = () => { if (play.disabled) return; if (sound.paused) start(sound.ended || sound.currentTime >= length() - 0.05 ? 0 : undefined); else sound.pause(); };
  sound.onplay = () => { play.textContent = "❚❚"; play.setAttribute("aria-label", "pause"); head.hidden = false; count(); follow(); };
  sound.onpause = () => { play.textContent = "▶"; play.setAttribute("aria-label", "play"); cancelAnimationFrame(frame); place(); };
  play.onclick = toggle;
  el.addEventListener("wb-play", toggle);
  seek.oninput = () => { head.hidden = false; sound.currentTime = length() * seek.value / 1000; place(); };
  for (const canvas of [wave, spectrum]) canvas.onclick = (event) => start(length() * event.offsetX / canvas.clientWidth);

  const sized = (canvas, height) => {
    const scale = window.devicePixelRatio || 1, width = strip.clientWidth;
    canvas.width = Math.max(1, Math.round(width * scale)); canvas.height = Math.round(height * scale);
    canvas.style.height = `${height}px`;
    return [canvas.getContext("2d"), canvas.width, canvas.height];
  };
  const drawWave = () => {
    const [pen, w, h] = sized(wave, 84);
    const tint = { equal: "--teal-bg", sub: "--red-bg", del: "--red-bg", ins: "--blue-bg" };
    for (const word of model.get("words")) {
      pen.fillStyle = colour(tint[word.kind]);
      pen.fillRect(w * word.start / length(), 0, Math.max(2, w * (word.end - word.start) / length() - 2), h);
    }
    let loudest = 1e-4;
    for (const value of samples) loudest = Math.max(loudest, Math.abs(value));
    pen.fillStyle = colour("--blue");
    for (let x = 0; x < w; x++) {
      let low = 0, high = 0;
      for (let i = Math.floor(samples.length * x / w); i < Math.floor(samples.length * (x + 1) / w); i++) { low = Math.min(low, samples[i]); high = Math.max(high, samples[i]); }
      const top = h / 2 * (1 - 0.95 * high / loudest), bottom = h / 2 * (1 - 0.95 * low / loudest);
      pen.fillRect(x, top, 1, Math.max(1, bottom - top));
    }
  };
  const drawSpectrum = () => {
    const [bins, frames] = model.get("shape"), raw = model.get("spectrogram"), [pen, w, h] = sized(spectrum, 92);
    if (!bins || !raw?.byteLength) return;
    const values = new Uint8Array(raw.buffer, raw.byteOffset, raw.byteLength), picture = new ImageData(frames, bins);
    const isDark = matchMedia("(prefers-color-scheme: dark)").matches;
    const from = isDark ? [30, 37, 49] : [255, 255, 255], over = isDark ? [58, 120, 196] : [143, 188, 240], to = isDark ? [224, 238, 255] : [11, 63, 134];
    for (let i = 0; i < values.length; i++) {
      const share = values[i] / 255, [a, b, part] = share < 0.5 ? [from, over, share * 2] : [over, to, share * 2 - 1];
      for (let c = 0; c < 3; c++) picture.data[4 * i + c] = a[c] + part * (b[c] - a[c]);
      picture.data[4 * i + 3] = 255;
    }
    const small = document.createElement("canvas");
    small.width = frames; small.height = bins;
    small.getContext("2d").putImageData(picture, 0, 0);
    pen.imageSmoothingEnabled = true;
    pen.drawImage(small, 0, 0, w, h);
  };
  const drawWords = () => {
    words.replaceChildren(...model.get("words").map((word) => {
      const made = document.createElement("button");
      made.type = "button"; made.className = `wb-word wb-${word.kind}`; made.textContent = word.words; made.title = word.title;
      made.setAttribute("aria-label", `${word.title}, play it`);
      made.style.left = `${100 * word.start / length()}%`; made.style.width = `${100 * (word.end - word.start) / length()}%`;
      made.onclick = () => start(Math.max(0, word.start - MARGIN_S), word.end + MARGIN_S);
      return made;
    }));
    const step = length() > 6 ? 1 : 0.5, ticks = [];
    for (let s = step; s < length() - step / 4; s += step) {
      const tick = document.createElement("span");
      tick.textContent = `${s} s`; tick.style.left = `${100 * s / length()}%`;
      ticks.push(tick);
    }
    axis.replaceChildren(...ticks);
  };
  const draw = () => { if (!strip.clientWidth) return; drawWave(); drawSpectrum(); drawWords(); el.dataset.drawn = model.get("label"); };
  const load = () => {
    sound.pause();
    const wav = model.get("wav"), has = wav?.byteLength > 44;
    note.hidden = has; note.textContent = has ? "" : model.get("when_silent");
    strip.hidden = !has; play.disabled = seek.disabled = !has;
    samples = has ? samplesOf(wav) : new Float32Array();
    if (address) URL.revokeObjectURL(address);
    address = has ? URL.createObjectURL(new Blob([wav], { type: "audio/wav" })) : "";
    if (has) sound.src = address; else { sound.removeAttribute("src"); sound.load(); } // else it keeps the clip before
    el.dataset.bytes = String(wav?.byteLength || 0);
    end.textContent = has ? written(length()) : "";
    head.hidden = true; until = Infinity; seek.value = "0"; now.textContent = "0:00.0";
    draw();
  };
  const dark = matchMedia("(prefers-color-scheme: dark)"), watcher = new ResizeObserver(draw);
  watcher.observe(strip);
  dark.addEventListener("change", draw);
  model.on("change:loaded", load);
  model.on("change:words", () => { drawWave(); drawWords(); });
  load();
  return () => { watcher.disconnect(); dark.removeEventListener("change", draw); sound.pause(); if (address) URL.revokeObjectURL(address); };
}
export default { render };
