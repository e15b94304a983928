// What wakes the page of a photo and the gallery: their photos stand in the HTML, and the captions
// and maps beside them as JSON.
"use strict";

(() => {
  const photos = JSON.parse(document.getElementById("photos").textContent);
  const pictures = [...document.querySelectorAll("img[data-photo]")];
  showattend.theme(document.getElementById("theme"));

  const single = document.getElementById("viewer");
  if (single) {
    const source = pictures[0].src;
    new showattend.Viewer(single).show(photos[0], source);
    return;
  }

  // The gallery: a card opens its photo in a dialog, from where one goes on to the others.
  const dialog = document.querySelector("dialog");
  const cards = [...document.querySelectorAll(".card")];
  const title = dialog.querySelector("h2");
  const viewer = new showattend.Viewer(dialog.querySelector(".place"));
  const [previous, next] = ["previous", "next"].map((name) => document.getElementById(name));
  let shown = 0;

  const visible = () => cards.map((_, k) => k).filter((k) => !cards[k].parentElement.hidden);
  const open = (number) => {
    shown = number;
    title.textContent = photos[number].name;
    const among = visible(), at = among.indexOf(number);
    previous.disabled = at <= 0;
    next.disabled = at >= among.length - 1;
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
    return viewer.show(photos[number], pictures[number].src);
  };
  const go = (step) => {
    const among = visible(), to = among[among.indexOf(shown) + step];
    if (to !== undefined) open(to);
  };
  cards.forEach((card, k) => card.addEventListener("click", () => open(k)));
  previous.addEventListener("click", () => go(-1));
  next.addEventListener("click", () => go(1));
  document.getElementById("close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => {
    viewer.stop();
    cards[shown].focus();
  });

  const find = document.getElementById("find"), found = document.getElementById("found");
  find.addEventListener("input", () => {
    const wanted = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    cards.forEach((card, k) => {
      const text = [photos[k].name, ...photos[k].captions.map((each) => each.caption)];
      const said = text.join(" ").toLowerCase();
      card.parentElement.hidden = !wanted.every((word) => said.includes(word));
    });
    found.textContent = `${visible().length} of ${cards.length} photos`;
  });
})();
