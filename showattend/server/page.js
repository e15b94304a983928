// The server's page: takes a photo, requests captions, shows them, and lets the user steer them.
"use strict";

(() => {
  const $ = (id) => document.getElementById(id);
  const settings = JSON.parse($("settings").textContent);
  const { Viewer, make } = showattend;
  showattend.theme($("theme"));
  $("address").textContent = location.origin;

  // What is shown, and what was requested last: the photo, the first words and the rejected words.
  // The photo's preview is null until the server has sent it.
  let shown = { photo: null, preview: null, prefix: "", rejected: [] }, wanted = shown;
  let request = null, later = 0;

  const steer = $("steer");
  steer.hidden = false;
  const viewer = new Viewer($("viewer"), {
    extra: [steer],
    actions: [
      {
        label: (caption, t) => `Keep “${caption.words.slice(0, t + 1).join(" ")}” and continue`,
        run: (caption, t) => guide({ prefix: caption.words.slice(0, t + 1).join(" ") }),
      },
      {
        label: (caption, t) => `Not “${caption.words[t]}”`,
        run: (caption, t) => guide({
          prefix: caption.words.slice(0, t).join(" "),
          rejected: [...new Set([...basis().rejected, caption.words[t]])],
        }),
      },
    ],
  });

  // --- requests ---------------------------------------------------------------------------------

  // Request captions with changed options; an earlier request is aborted.
  async function ask(changed = {}, from = wanted) {
    clearTimeout(later);
    const asked = { ...from, ...changed };
    if (!asked.photo) return;
    wanted = asked;
    request?.abort();
    const mine = (request = new AbortController());
    const acting = viewer.root.contains(document.activeElement) &&
      document.activeElement !== $("prefix");
    const form = new FormData();
    form.append("image", asked.photo, asked.photo.name || "photo");
    for (const [name, value] of Object.entries(options())) form.append(name, value);
    form.append("prefix", asked.prefix);
    form.append("banned", asked.rejected.join(" "));
    form.append("preview", asked.preview === null);
    complain("");
    busy(true);
    try {
      const response = await fetch("api/caption", { method: "POST", body: form, signal: mine.signal });
      const answer = await response.json();
      if (mine.signal.aborted) return;
      if (!response.ok) {
        if ([400, 413].includes(response.status)) wanted = shown; // invalid photo or words
        throw new Error(answer.error);
      }
      await show(answer, asked, acting, mine.signal);
    } catch (error) {
      if (mine.signal.aborted) return;
      $("progress").textContent = "";
      complain(error instanceof TypeError || error instanceof SyntaxError
        ? "The server does not answer. Is it still running?" : error.message);
    } finally {
      if (request === mine) {
        request = null;
        busy(false);
      }
    }
  }

  // Steer the photo that is shown, even if another one is pending or was refused.
  const guide = (changed) => ask(changed, basis());
  const basis = () => (request && wanted.photo === shown.photo ? wanted : shown);

  // Wait until a slider rests, since every key press is a change.
  function askSoon() {
    clearTimeout(later);
    later = setTimeout(ask, 300);
  }

  function options() {
    const method = document.querySelector("input[name=method]:checked").value;
    if (method === "beam") return { method, beam_size: $("beam_size").value };
    const values = { method, samples: $("samples").value, temperature: $("temperature").value };
    return $("seed").value ? { ...values, seed: $("seed").value } : values;
  }

  async function show(answer, asked, acting, signal) {
    const preview = answer.preview ?? asked.preview;
    $("viewer").hidden = false;
    document.body.classList.add("has-photo");
    if (!(await viewer.show(answer, preview))) return;
    shown = { ...asked, preview };
    const chips = shown.rejected.map((word) => make("button", {
      type: "button", class: "rejected", "aria-label": `Allow “${word}” again`,
      click: () => guide({ rejected: basis().rejected.filter((each) => each !== word) }),
    }, word));
    $("rejected").replaceChildren(...(chips.length ? ["Rejected:", ...chips] : []));
    if (signal.aborted) return; // the photo is no longer the one requested
    wanted = shown;
    $("prefix").value = shown.prefix;
    const how = answer.seed === null ? "" : `, seed ${answer.seed}`;
    $("progress").textContent =
      [`Caption: ${answer.captions[0].caption || "(no words)"}`, ...answer.notes].join(" ") +
      ` (${answer.name}, ${answer.seconds.toFixed(1)} s${how})`;
    // The word's buttons are gone after steering, so the focus moves to the first new word.
    if (acting) viewer.focus(answer.fixed);
  }

  function busy(is) {
    $("viewer").setAttribute("aria-busy", is);
    if (is) $("progress").textContent = "Looking at the photo …";
    $("again").disabled = !wanted.photo;
  }

  function complain(text) {
    $("problem").textContent = text;
    $("problem").hidden = !text;
  }

  // --- a photo: chosen, dropped, pasted, taken --------------------------------------------------

  function take(file) {
    if (!file) return complain("That is not a file. Drop or paste a photo.");
    if (file.size > settings.megabytes * 1e6)
      return complain(`${file.name}: the file is larger than ${settings.megabytes} MB.`);
    ask({ photo: file, preview: null, prefix: "", rejected: [] });
  }

  for (const id of ["file", "capture"])
    $(id).addEventListener("change", (event) => {
      if (event.target.files.length) take(event.target.files[0]);
      event.target.value = "";
    });
  $("choose").addEventListener("click", () => $("file").click());

  let within = 0; // dragenter and dragleave fire for every element on the way
  const over = (step) => {
    within = Math.max(0, step ? within + step : 0);
    $("drop").classList.toggle("over", within > 0);
  };
  document.addEventListener("dragenter", () => over(1));
  document.addEventListener("dragleave", () => over(-1));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    over(0);
    take(event.dataTransfer.files[0]);
  });
  document.addEventListener("paste", (event) => {
    const file = event.clipboardData.files[0];
    if (!file && event.target.matches?.("input")) return; // text for a field
    event.preventDefault();
    take(file);
  });

  // Use a phone's camera app if there is one, otherwise the browser's camera.
  const dialog = $("shooting"), video = dialog.querySelector("video");
  $("camera").addEventListener("click", async () => {
    if (matchMedia("(pointer: coarse)").matches || !navigator.mediaDevices?.getUserMedia)
      return $("capture").click();
    try {
      video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1920 } } });
      complain("");
      dialog.showModal();
    } catch (error) {
      complain(`The camera cannot be used: ${error.message}.`);
    }
  });
  $("shoot").addEventListener("click", () => {
    const frame = make("canvas", { width: video.videoWidth, height: video.videoHeight });
    if (!frame.width) return; // no frame yet
    frame.getContext("2d").drawImage(video, 0, 0);
    dialog.close();
    frame.toBlob((blob) => take(new File([blob], "camera.jpg")), "image/jpeg", 0.92);
  });
  $("leave").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => {
    for (const track of video.srcObject?.getTracks() ?? []) track.stop();
    video.srcObject = null;
  });

  // --- options and steering ---------------------------------------------------------------------

  $("beam_size").max = $("samples").max = settings.most;
  $("beam_size").value = settings.beam_size;
  for (const input of document.querySelectorAll(".field input[type=range]")) {
    const write = () => { input.nextElementSibling.textContent = input.value; };
    input.addEventListener("input", write);
    input.addEventListener("change", askSoon);
    write();
  }
  for (const radio of document.querySelectorAll("input[name=method]"))
    radio.addEventListener("change", () => {
      for (const field of document.querySelectorAll("[data-method]"))
        field.hidden = field.dataset.method !== radio.value;
      ask();
    });
  $("again").addEventListener("click", () => ask());
  steer.addEventListener("submit", (event) => {
    event.preventDefault();
    guide({ prefix: $("prefix").value.trim() });
  });
  $("over").addEventListener("click", () => {
    $("prefix").value = "";
    guide({ prefix: "", rejected: [] });
  });
})();
