// The page's own work on photos: shrinking them, keeping them in this browser, saving files.
"use strict";

const showattendPhotos = (() => {
  const LONGEST = 1024, THUMB = 200; // pixels of the longer side: as sent, and in the strip
  const SMALL = 400_000; // bytes: smaller files of few pixels are sent unchanged
  const DAYS = 2; // days to keep photos of other tabs

  // A picture at a fraction of its size, as a JPEG on white.
  function drawn(bitmap, scale) {
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, Math.round(bitmap.width * scale));
    canvas.height = Math.max(1, Math.round(bitmap.height * scale));
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.fillStyle = "#fff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    return new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.9));
  }

  // A file as {file: to send, picture: to show, thumb}; the last two are null if the browser does
  // not know the format. Throws if it cannot be read.
  async function prepare(file) {
    await file.slice(0, 1).arrayBuffer(); // a folder, or a file that has gone
    let bitmap;
    try {
      bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
    } catch {
      return { file, picture: null, thumb: null };
    }
    const longest = Math.max(bitmap.width, bitmap.height);
    let sent = file;
    if (longest > LONGEST || file.size > SMALL) {
      const blob = await drawn(bitmap, Math.min(1, LONGEST / longest));
      if (blob && blob.size < file.size) sent = new File([blob], file.name, { type: blob.type });
    }
    const thumb = await drawn(bitmap, Math.min(1, THUMB / longest));
    bitmap.close();
    return { file: sent, picture: sent, thumb };
  }

  // --- kept in this browser, so that a reload loses nothing -----------------------------------------

  const settled = (request) => new Promise((done, failed) => {
    request.onsuccess = () => done(request.result);
    request.onerror = () => failed(request.error);
  });
  let opened;
  const database = () => (opened ??= (() => {
    const request = indexedDB.open("showattend", 1);
    request.onupgradeneeded = () => request.result.createObjectStore("photos", { keyPath: "id" });
    return settled(request);
  })());
  async function table(mode) {
    return (await database()).transaction("photos", mode).objectStore("photos");
  }

  let session;
  // If a browser keeps nothing (a private window, a full disk), the page does without.
  const quietly = (work) => async (...given) => {
    try {
      return await work(...given);
    } catch {
      return undefined;
    }
  };
  const keep = quietly(async (record) =>
    settled((await table("readwrite")).put({ ...record, session })));
  // Text being typed, stored at once: a reload need not wait for the database.
  const writing = (id) => `words of ${id}`;
  const jot = quietly(async (id, words) => {
    if (words === null) sessionStorage.removeItem(writing(id));
    else sessionStorage[writing(id)] = words;
  });
  const forget = quietly(async (ids) => {
    for (const id of ids) sessionStorage.removeItem(writing(id));
    const photos = await table("readwrite");
    await Promise.all(ids.map((id) => settled(photos.delete(id))));
  });

  // The photos of this tab, or of the tab that an address comes from; drops old ones of other tabs.
  async function kept(id) {
    const all = (await quietly(async () => settled((await table("readonly")).getAll()))()) ?? [];
    try {
      session = sessionStorage.session;
    } catch { /* no storage */ }
    session ??= all.find((each) => each.id === id)?.session ?? crypto.getRandomValues(new Uint32Array(2)).join("-");
    try {
      sessionStorage.session = session;
    } catch { /* no storage */ }
    const old = Date.now() - DAYS * 86_400_000;
    forget(all.filter((each) => each.session !== session && each.at < old).map((each) => each.id));
    const mine = all.filter((each) => each.session === session).sort((a, b) => a.at - b.at);
    try {
      for (const each of mine) each.wording = sessionStorage[writing(each.id)] ?? each.wording;
    } catch { /* no storage */ }
    return mine;
  }

  // --- files to save --------------------------------------------------------------------------------

  function download(blob, name) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  }

  // A sidecar with the description, for photo programs (XMP; IPTC's alt text for screen readers).
  function description(text) {
    const safe = text.replace(/[&<>]/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[sign]);
    const alt = `<rdf:Alt><rdf:li xml:lang="x-default">${safe}</rdf:li></rdf:Alt>`;
    return `<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:Iptc4xmpCore="http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/">
<dc:description>${alt}</dc:description>
<Iptc4xmpCore:AltTextAccessibility>${alt}</Iptc4xmpCore:AltTextAccessibility>
</rdf:Description>
</rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
`;
  }

  return { description, download, forget, jot, keep, kept, prepare };
})();
