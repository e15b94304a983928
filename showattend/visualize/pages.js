// Starts the page of a photo and the gallery: their photos are in the HTML, with the captions and
// maps as JSON.
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

  // The gallery: a card opens its photo in a dialog, which leads on to the others. The
  // address names the photo that is open, for Back and for bookmarks.
  const { make } = showattend;
  const dialog = document.querySelector("dialog");
  const cards = [...document.querySelectorAll(".card")];
  const title = dialog.querySelector("h2");
  const about = make("div", { class: "about" });
  const viewer = new showattend.Viewer(dialog.querySelector(".place"), { extra: [about] });
  const [previous, next] = ["previous", "next"].map((name) => document.getElementById(name));
  let shown = 0;

  const visible = () => cards.map((_, k) => k).filter((k) => !cards[k].parentElement.hidden);
  const hash = (number) => `#photo-${number + 1}`;
  const open = async (number) => {
    shown = number;
    title.textContent = photos[number].name;
    const among = visible(), at = among.indexOf(number);
    previous.disabled = at <= 0;
    next.disabled = at >= among.length - 1;
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
    about.replaceChildren();
    if (!(await viewer.show(photos[number], pictures[number].src))) return;
    tell(photos[number]);
  };
  const go = (step) => {
    const among = visible(), to = among[among.indexOf(shown) + step];
    if (to === undefined) return;
    history.replaceState(null, "", hash(to));
    open(to);
  };

  // What is wrong with a caption, and what people say.
  function tell({ remarks = [], people = [] }) {
    const wrong = remarks.map(({ kind, text, words, start, stop }) => {
      for (let t = start; t < stop; t++) viewer.words.get(t)?.classList.add("wrong");
      const name = stop > start
        ? make("button", { type: "button", click: () => viewer.focus(start) }, words) : [];
      return make("li", {}, name, make("span", { class: "kind" }, kind), make("span", {}, text));
    });
    const list = (heading, items, kind) => !items.length ? []
      : [make("h2", {}, heading), make("ul", { class: kind }, items)];
    about.replaceChildren(
      ...list("What is wrong", wrong, "remarks"),
      ...list("What people say", people.map((each) => make("li", { dir: "auto" }, each)), "people"));
  }

  function route() {
    const number = Number(/^#photo-(\d+)$/.exec(location.hash)?.[1]) - 1;
    if (cards[number]) {
      if (!dialog.open || shown !== number) open(number);
    } else if (dialog.open) dialog.close();
  }
  window.addEventListener("hashchange", route);
  cards.forEach((card, k) => card.addEventListener("click", () => { location.hash = hash(k); }));
  previous.addEventListener("click", () => go(-1));
  next.addEventListener("click", () => go(1));
  document.getElementById("close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => {
    viewer.stop();
    cards[shown].focus();
    if (location.hash) history.pushState(null, "", location.pathname + location.search);
  });
  route();

  const find = document.getElementById("find"), found = document.getElementById("found");
  const kinds = [...document.querySelectorAll("[data-kind]")];
  const sift = () => {
    const wanted = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    const kind = kinds.find((each) => each.ariaPressed === "true")?.dataset.kind;
    cards.forEach((card, k) => {
      const { name, captions, people = [], remarks = [] } = photos[k];
      const said = [name, ...captions.map((each) => each.caption), ...people].join(" ").toLowerCase();
      card.parentElement.hidden = !wanted.every((word) => said.includes(word)) ||
        Boolean(kind && !remarks.some((each) => each.kind === kind));
    });
    found.textContent = `${visible().length} of ${cards.length} photos`;
  };
  find.addEventListener("input", sift);
  for (const button of kinds)
    button.addEventListener("click", () => {
      const pressed = button.ariaPressed !== "true";
      for (const each of kinds) each.ariaPressed = String(pressed && each === button);
      sift();
    });
})();
