// The server's page: takes photos, requests captions, shows them, and lets the user steer them.
"use strict";

(() => {
  const $ = (id) => document.getElementById(id);
  const settings = JSON.parse($("settings").textContent);
  const { Viewer, make } = showattend;
  const { description, download, forget, jot, keep, kept, prepare } = showattendPhotos;
  const MOST = 100; // photos at once
  const START = { prefix: "", rejected: [], text: "" };
  const title = document.title;
  showattend.theme($("theme"));
  $("address").textContent = location.origin;

  // The photos in order of arrival, and the one shown. A photo's `wanted` is its last request (the
  // first words, the rejected words, a sentence), `shown` the one answered.
  const photos = [];
  let current = null, later = 0;
  const waiting = []; // photos in the queue
  let working = false;

  const steer = $("steer"), wording = $("wording");
  steer.hidden = wording.hidden = false;
  const viewer = new Viewer($("viewer"), {
    extra: [steer, wording],
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
    chosen: (caption) => {
      $("text").value = caption.caption;
      if (current) current.wording = null;
    },
  });

  // --- requests ---------------------------------------------------------------------------------

  // Request captions of a photo with changed options; its earlier request is aborted.
  async function ask(photo, changed = {}, from = photo.wanted) {
    clearTimeout(later);
    const asked = (photo.wanted = { ...from, ...changed });
    photo.request?.abort();
    const mine = (photo.request = new AbortController());
    const focused = document.activeElement;
    const acting = photo === current && viewer.root.contains(focused) && !focused.matches("input, textarea");
    complain(photo, "");
    mark();
    try {
      let response = await post(photo, asked, mine.signal);
      if (response.status === 410) { // the server has forgotten the photo
        photo.token = null;
        response = await post(photo, asked, mine.signal);
      }
      const answer = await response.json();
      if (mine.signal.aborted) return;
      if (!response.ok) return refused(photo, response.status, answer.error);
      const first = !photo.answer;
      if (answer.preview) await preview(photo, answer.preview);
      Object.assign(photo, { token: answer.token, answer: { ...answer, preview: null }, shown: asked, wording: null });
      jot(photo.id, null);
      write(photo);
      card(photo);
      if (photo === current) await show({ acting, first });
    } catch (error) {
      if (mine.signal.aborted) return;
      complain(photo, error instanceof TypeError || error instanceof SyntaxError
        ? "The server does not answer. Is it still running?" : error.message);
    } finally {
      if (photo.request === mine) photo.request = null;
      card(photo);
      mark();
    }
  }

  function post(photo, asked, signal) {
    const form = new FormData();
    if (photo.token) form.append("token", photo.token);
    else form.append("image", photo.file, photo.name);
    for (const [name, value] of Object.entries(options())) form.append(name, value);
    form.append("prefix", asked.prefix);
    form.append("banned", asked.rejected.join(" "));
    form.append("text", asked.text);
    form.append("short", true); // a slow line would carry their digits for half a second
    form.append("preview", !photo.token && !photo.picture);
    return fetch("api/caption", { method: "POST", body: form, signal });
  }

  function refused(photo, status, error) {
    if (![400, 413].includes(status)) return complain(photo, error);
    if (photo.answer) {
      photo.wanted = photo.shown; // words that cannot be used
      return complain(photo, error);
    }
    remove(photo, error); // no photo at all
  }

  // Steer the photo that is shown.
  const guide = (changed) => current?.answer && ask(current, { text: "", ...changed }, basis());
  const basis = () => (current.request ? current.wanted : current.shown);
  const again = () => current && ask(current, { text: "" });

  // Wait until a slider stops, since every key press is a change.
  function askSoon() {
    clearTimeout(later);
    later = setTimeout(again, 300);
  }

  function options() {
    const method = document.querySelector("input[name=method]:checked").value;
    if (method === "beam") return { method, beam_size: $("beam_size").value };
    const values = { method, samples: $("samples").value, temperature: $("temperature").value };
    return $("seed").value ? { ...values, seed: $("seed").value } : values;
  }

  // --- what is shown ------------------------------------------------------------------------------

  // Show the current photo's captions; the first time they play themselves.
  async function show({ acting = false, first = false } = {}) {
    const photo = current, { answer, shown, wording } = photo;
    if (!(await viewer.show(answer, photo.source)) || photo !== current) return;
    if (wording != null) {
      $("text").value = wording;
      photo.wording = wording;
    }
    const chips = shown.rejected.map((word) => make("button", {
      type: "button", class: "rejected", "aria-label": `Allow “${word}” again`,
      click: () => guide({ rejected: basis().rejected.filter((each) => each !== word) }),
    }, word));
    $("rejected").replaceChildren(...(chips.length ? ["Rejected:", ...chips] : []));
    $("prefix").value = shown.prefix;
    const how = answer.seed === null ? "" : `, seed ${answer.seed}`;
    const caption = answer.captions[0].caption || "(no words)";
    $("progress").textContent = [`Caption: ${caption}`, ...answer.notes].join(" ") +
      ` (${answer.name}, ${answer.seconds.toFixed(1)} s${how})`;
    document.title = `${caption} – ${title}`;
    // The word's buttons are gone after steering, so the focus moves to the first new word.
    if (acting) viewer.focus(answer.fixed);
    else if (first && !matchMedia("(prefers-reduced-motion: reduce)").matches) viewer.play(true);
  }

  // Show a photo. Its address names it, so that Back, a reload and a bookmark find it.
  async function open(photo) {
    current = photo;
    $("viewer").hidden = false;
    document.body.classList.add("has-photo");
    if (location.hash !== `#${photo.id}`) history.pushState(null, "", `#${photo.id}`);
    photos.forEach(card);
    complain(photo, photo.problem);
    mark();
    if (photo.answer) return show();
    await viewer.wait(photo.source, photo.source ? "Looking …" : photo.name);
    if (photo.ready && !photo.request && !photo.problem) ask(photo);
  }

  // The first screen, with an invitation.
  function close() {
    current = null;
    viewer.stop();
    $("viewer").hidden = true;
    document.body.classList.remove("has-photo");
    document.title = title;
    $("progress").textContent = "";
    say("");
    photos.forEach(card);
    mark();
  }

  // Go where the address says.
  function route() {
    const photo = photos.find((each) => `#${each.id}` === location.hash);
    if (photo && photo !== current) open(photo);
    else if (!photo) close();
  }

  // The photo's card among the others: a link.
  function card(photo) {
    if (!photo.card) {
      photo.picturing = make("span", { class: "blank" });
      photo.said = make("span", { class: "said" });
      photo.link = make("a", { href: `#${photo.id}` }, photo.picturing, photo.said);
      photo.card = make("li", {}, photo.link);
    }
    if (photo.thumb && photo.picturing.matches("span")) {
      const image = make("img", { alt: "", src: URL.createObjectURL(photo.thumb) });
      photo.picturing.replaceWith(image);
      photo.picturing = image;
    }
    photo.said.textContent = photo.answer ? photo.answer.captions[0].caption || "(no words)"
      : photo.problem ? `${photo.name}: not captioned` : photo.name;
    if (photo === current) photo.link.setAttribute("aria-current", "page");
    else photo.link.removeAttribute("aria-current");
    if (!photo.card.parentElement && photos.includes(photo)) $("cards").append(photo.card);
    $("strip").hidden = !(photos.length > 1 || (photos.length && !current));
  }

  function mark() {
    const busy = Boolean(current && (current.request || !current.ready));
    $("viewer").setAttribute("aria-busy", busy);
    if (busy) $("progress").textContent = "Looking at the photo …";
    else if (current?.problem) $("progress").textContent = "";
    $("again").disabled = !current;
  }

  // Report what is wrong with a photo, at once if it is the one shown.
  function complain(photo, text) {
    photo.problem = text;
    if (photo === current) say(text);
  }

  function say(text) {
    $("problem").textContent = text;
    $("problem").hidden = !text;
  }

  // --- photos: chosen, dropped, pasted, taken -----------------------------------------------------

  function add(values) {
    const photo = {
      file: null, picture: null, thumb: null, source: null, answer: null, token: null, request: null,
      wanted: START, shown: START, wording: null, problem: "", ready: false, ...values,
    };
    if (photo.picture) photo.source = URL.createObjectURL(photo.picture);
    photos.push(photo);
    card(photo);
    return photo;
  }

  // Take files: the first is shown and captioned at once, the others one after the other.
  function take(files) {
    const given = [...files];
    if (!given.length) return say("That is not a file. Drop or paste a photo.");
    say("");
    const came = given.slice(0, MOST).map((file) => add({
      id: [...crypto.getRandomValues(new Uint8Array(6))].map((byte) => byte.toString(16).padStart(2, "0")).join(""),
      at: Date.now() + photos.length / 1000, name: file.name || "photo", given: file,
    }));
    waiting.push(...came.slice(1));
    open(came[0]);
    begin(came[0]).then(work);
    if (given.length > MOST)
      say(`Only the first ${MOST} files are taken; ${given.length - MOST} are left out.`);
  }

  async function begin(photo) {
    const file = photo.given;
    photo.given = null;
    try {
      Object.assign(photo, await prepare(file));
    } catch {
      return remove(photo, `${photo.name}: cannot be read. Is it a folder?`);
    }
    if (photo.file.size > settings.megabytes * 1e6)
      return remove(photo, `${photo.name}: the file is larger than ${settings.megabytes} MB.`);
    if (photo.picture) photo.source = URL.createObjectURL(photo.picture);
    photo.ready = true;
    card(photo);
    write(photo);
    if (photo === current && photo.source) viewer.wait(photo.source, "Looking …");
    await ask(photo);
  }

  async function work() {
    if (working) return;
    working = true;
    while (waiting.length) await begin(waiting.shift());
    working = false;
  }

  // Drop a file that is not a photo; the one before it is shown instead.
  function remove(photo, why) {
    const at = photos.indexOf(photo);
    if (at < 0) return;
    photos.splice(at, 1);
    photo.card.remove();
    forget([photo.id]);
    const next = photos.at(-1);
    if (photo === current) {
      if (next) history.replaceState(null, "", `#${next.id}`);
      else history.replaceState(null, "", location.pathname);
      if (next) open(next);
      else close();
    } else photos.forEach(card);
    const before = $("problem").hidden ? "" : `${$("problem").textContent}\n`;
    say(before + why);
  }

  // A picture that the browser cannot decode itself.
  async function preview(photo, address) {
    const bytes = Uint8Array.from(atob(address.split(",")[1]), (sign) => sign.charCodeAt(0));
    const { picture, thumb } = await prepare(new File([bytes], photo.name, { type: "image/jpeg" }));
    Object.assign(photo, { picture, thumb, source: URL.createObjectURL(picture) });
  }

  // Keep a photo in this browser.
  function write({ id, at, name, file, picture, thumb, answer, token, shown, wording }) {
    if (photos.some((each) => each.id === id))
      keep({ id, at, name, file, picture, thumb, answer, token, shown, wording });
  }

  for (const id of ["file", "capture"])
    $(id).addEventListener("change", (event) => {
      if (event.target.files.length) take(event.target.files);
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
    take(event.dataTransfer.files);
  });
  document.addEventListener("paste", (event) => {
    const files = event.clipboardData.files;
    if (!files.length && event.target.matches?.("input, textarea")) return; // text for a field
    event.preventDefault();
    take(files);
  });

  // Examples: fetched once, for display and for captioning.
  async function example({ name, alt }) {
    const button = make("button", { type: "button", class: "picture" }, make("span", {}, alt));
    $("pictures").append(button);
    try {
      const response = await fetch(`examples/${name}.jpg`);
      if (!response.ok) throw new Error(response.statusText);
      const file = new File([await response.blob()], `${name}.jpg`, { type: "image/jpeg" });
      button.replaceChildren(make("img", { alt, src: URL.createObjectURL(file) }));
      button.addEventListener("click", () => take([file]));
    } catch {
      button.remove();
    }
    $("examples").hidden = !$("pictures").children.length;
  }
  $("examples").hidden = !settings.examples.length;
  settings.examples.forEach(example);

  // Use a phone's camera app if there is one, otherwise the browser's camera.
  const dialog = $("shooting"), video = dialog.querySelector("video");
  $("camera").addEventListener("click", async () => {
    if (matchMedia("(pointer: coarse)").matches || !navigator.mediaDevices?.getUserMedia)
      return $("capture").click();
    try {
      video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1920 } } });
      say("");
      dialog.showModal();
    } catch (error) {
      say(`The camera cannot be used: ${error.message}.`);
    }
  });
  $("shoot").addEventListener("click", () => {
    const frame = make("canvas", { width: video.videoWidth, height: video.videoHeight });
    if (!frame.width) return; // no frame yet
    frame.getContext("2d").drawImage(video, 0, 0);
    dialog.close();
    frame.toBlob((blob) => take([new File([blob], "camera.jpg")]), "image/jpeg", 0.92);
  });
  $("leave").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => {
    for (const track of video.srcObject?.getTracks() ?? []) track.stop();
    video.srcObject = null;
  });

  // --- options, steering, saving ----------------------------------------------------------------

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
      again();
    });
  $("again").addEventListener("click", again);
  steer.addEventListener("submit", (event) => {
    event.preventDefault();
    guide({ prefix: $("prefix").value.trim() });
  });
  $("over").addEventListener("click", () => {
    $("prefix").value = "";
    guide({ prefix: "", rejected: [] });
  });
  $("forget").addEventListener("click", () => {
    const gone = photos.splice(0);
    waiting.length = 0;
    for (const photo of gone) {
      photo.request?.abort();
      photo.card.remove();
    }
    forget(gone.map((photo) => photo.id));
    history.pushState(null, "", location.pathname);
    close();
    $("strip").hidden = true;
    $("choose").focus();
  });

  const text = () => $("text").value.trim();
  const named = (suffix) => `${current.name.replace(/\.[^.]*$/, "")}.${suffix}`;
  $("text").addEventListener("input", () => {
    current.wording = $("text").value;
    jot(current.id, current.wording);
    write(current);
  });
  wording.addEventListener("submit", (event) => {
    event.preventDefault();
    if (text()) ask(current, { text: text() });
  });
  $("save-txt").addEventListener("click", () =>
    download(new Blob([`${text()}\n`], { type: "text/plain" }), named("txt")));
  // photo.jpg.xmp: digiKam reads no photo.xmp.
  $("save-xmp").addEventListener("click", () =>
    download(new Blob([description(text())], { type: "application/rdf+xml" }), `${current.name}.xmp`));
  for (const button of document.querySelectorAll("[data-save]"))
    button.addEventListener("click", () => save(button));

  // The server draws what is shown, as the command line does; a page has the other candidates too.
  async function save(button) {
    const photo = current, kind = button.dataset.save, shown = viewer.caption;
    const others = photo.answer.captions.filter((each) => each !== shown);
    const form = new FormData();
    form.append("image", photo.file, photo.name);
    form.append("kind", kind);
    form.append("text", [shown, ...others].map((each) => each.words.join(" ")).filter(Boolean).join("\n"));
    button.disabled = true;
    $("progress").textContent = `Drawing ${named(kind)} …`;
    try {
      const response = await fetch("api/figure", { method: "POST", body: form });
      if (!response.ok) throw new Error((await response.json()).error);
      download(await response.blob(), named(kind));
      $("progress").textContent = `Saved ${named(kind)}.`;
    } catch (error) {
      $("progress").textContent = "";
      say(error instanceof TypeError ? "The server does not answer. Is it still running?" : error.message);
    } finally {
      button.disabled = false;
    }
  }

  // What this tab had before a reload.
  (async () => {
    for (const record of await kept(location.hash.slice(1)))
      add({ ...record, ready: true, wanted: record.shown });
    window.addEventListener("hashchange", route);
    if (location.hash) route();
    document.body.dataset.ready = "";
  })();
})();
