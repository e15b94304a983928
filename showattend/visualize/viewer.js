// The viewer: a photo, its captions word by word, and where the model looked for each word.
// Shared by the page, the gallery and the server. It contacts no other host.
"use strict";

const showattend = (() => {
  // Colours of the glow from cold to hot: matplotlib's "inferno" from 0.3 to 0.9.
  const GLOW =
    "6a176e7c1d6d8c23699b2964ab2f5ebc3754ca404ad74b3fe25734eb6628f37819f8890cfb9b06fcae12fac42af6d746";
  const GLOW_COVERS = 0.55; // share of the photo at full heat
  const SMALLEST = 480; // minimum longer side of a canvas, so that a tiny photo is visible
  const SMALL = 128; // longer side of a part's picture

  // --- maps -------------------------------------------------------------------------------------

  // Weights [pixels][cells] of the cells between low and high on one axis: Catmull-Rom's kernel
  // through the cells' centres, as in Geometry.upsample. A smoothness under 1 narrows the
  // transition from cell to cell; at 0 each pixel takes the value of its cell. A pixel larger than
  // half a cell takes the average over its area; what the network did not see is 0.
  function weights(pixels, low, high, cells, smoothness) {
    const cellsPerPixel = cells / (high - low);
    const samples = cellsPerPixel <= 0.5 ? 1 : Math.ceil(8 * cellsPerPixel);
    const result = new Float64Array(pixels * cells);
    for (let sample = 0; sample < pixels * samples; sample++) {
      const position = ((sample + 0.5) / samples - low) * cellsPerPixel;
      if (position < 0 || position >= cells) continue;
      const first = Math.floor(position - 0.5);
      let between = position - 0.5 - first;
      if (smoothness <= 0) between = between < 0.5 ? 0 : 1;
      else between = Math.min(Math.max((between - 0.5) / smoothness + 0.5, 0), 1);
      const row = Math.floor(sample / samples) * cells;
      for (let offset = -1; offset <= 2; offset++) {
        const t = Math.abs(between - offset);
        const weight =
          t < 1 ? (1.5 * t - 2.5) * t * t + 1 : t < 2 ? ((-0.5 * t + 2.5) * t - 4) * t + 2 : 0;
        const cell = Math.min(Math.max(first + offset, 0), cells - 1);
        result[row + cell] += weight / samples;
      }
    }
    return result;
  }

  // The map [rows][columns] at every pixel of a canvas, as a share of `full`, in [0, 1].
  function heat(map, geometry, width, height, { smoothness = 1, full = peak(map) } = {}) {
    const rows = map.length, columns = map[0].length;
    const [left, top, right, bottom] = geometry.box;
    const x = width / geometry.image_size[0], y = height / geometry.image_size[1];
    const across = weights(width, left * x, right * x, columns, smoothness);
    const down = weights(height, top * y, bottom * y, rows, smoothness);
    const wide = new Float64Array(rows * width);
    for (let r = 0; r < rows; r++)
      for (let px = 0; px < width; px++) {
        let sum = 0;
        for (let c = 0; c < columns; c++) sum += map[r][c] * across[px * columns + c];
        wide[r * width + px] = sum;
      }
    const values = new Float32Array(width * height), most = peak(map);
    for (let py = 0; py < height; py++)
      for (let px = 0; px < width; px++) {
        let sum = 0;
        for (let r = 0; r < rows; r++) sum += down[py * rows + r] * wide[r * width + px];
        values[py * width + px] = Math.min(Math.max(sum, 0), most) / Math.max(full, 1e-38);
      }
    return values;
  }

  // The glow in steps from cold to hot: red, green, blue, and how much it covers.
  const steps = 1024, glow = new Float32Array(4 * (steps + 1));
  for (let k = 0; k <= steps; k++) {
    const stops = GLOW.length / 6 - 1, place = (k / steps) * stops;
    const stop = Math.min(Math.floor(place), stops - 1);
    for (let c = 0; c < 3; c++) {
      const [a, b] = [0, 1].map((s) => parseInt(GLOW.substr(6 * (stop + s) + 2 * c, 2), 16));
      glow[4 * k + c] = a + (b - a) * (place - stop);
    }
    glow[4 * k + 3] = GLOW_COVERS * (k / steps) ** 0.75;
  }

  // Draw heat over a photo's pixels: dim and grey where cold, bright and glowing where hot.
  function overlay(photo, values, opacity) {
    const result = new ImageData(photo.width, photo.height);
    const from = photo.data, to = result.data;
    for (let i = 0, p = 0; i < values.length; i++, p += 4) {
      const warmth = values[i], k = 4 * Math.round(warmth * steps), cover = glow[k + 3];
      const grey = 0.299 * from[p] + 0.587 * from[p + 1] + 0.114 * from[p + 2];
      for (let c = 0; c < 3; c++) {
        const cold = 0.48 * (0.85 * grey + 0.15 * from[p + c]);
        const lit = cold + (0.5 * grey + 0.5 * from[p + c] - cold) * warmth;
        const mixed = lit + (glow[k + c] - lit) * cover;
        to[p + c] = from[p + c] + (mixed - from[p + c]) * opacity;
      }
      to[p + 3] = 255;
    }
    return result;
  }

  const peak = (map) => Math.max(...map.map((row) => Math.max(...row)));

  // The smallest share of the grid that holds half of a map: showattend.visualize.focus.half_area.
  function halfArea(map) {
    const shares = map.flat().sort((a, b) => b - a), total = shares.reduce((a, b) => a + b, 0);
    if (!(total > 0)) return 0.5;
    let reached = 0, count = 0;
    while (reached + shares[count] < total / 2) reached += shares[count++];
    return (count + (total / 2 - reached) / shares[count]) / shares.length;
  }

  // Where on the photo the brightest cell is, in words.
  function place(map, geometry) {
    const most = peak(map), row = map.findIndex((each) => each.includes(most));
    const column = map[row].indexOf(most);
    const [left, top, right, bottom] = geometry.box;
    const third = (value) => (value < 1 / 3 ? 0 : value <= 2 / 3 ? 1 : 2);
    const x = (left + ((column + 0.5) / map[0].length) * (right - left)) / geometry.image_size[0];
    const y = (top + ((row + 0.5) / map.length) * (bottom - top)) / geometry.image_size[1];
    const names = [
      ["upper left", "upper middle", "upper right"],
      ["left", "centre", "right"],
      ["lower left", "lower middle", "lower right"],
    ];
    return names[third(y)][third(x)];
  }

  // --- words ------------------------------------------------------------------------------------

  // A caption's words as its sentence shows them: [blank before, word, full stop after].
  function pieces(words) {
    return words.map((word, t) => {
      const joined = word === "n't" || (word.startsWith("'") && word.length > 1);
      let shown = word === "i" ? "I" : word;
      if (t === 0) shown = shown[0].toUpperCase() + shown.slice(1);
      const stop = t === words.length - 1 && !word.endsWith(".") ? "." : "";
      return [joined || t === 0 ? "" : " ", shown, stop];
    });
  }

  // An unsure word's additions: a title, and text for those who cannot see that it is dotted.
  const doubt = (confidence) => ({ title: `probability ${confidence.toFixed(2)}` });
  const heard = () => make("span", { class: "heard" }, " (unsure)");

  // A caption's sentence, its unsure words marked.
  function marked({ words, confidences, unsure }) {
    return pieces(words).flatMap(([before, said, after], t) => !unsure[t] ? [before + said + after]
      : [before, make("span", { class: "unsure", ...doubt(confidences[t]) }, said, heard()), after]);
  }

  // Numbers with a real minus sign, and a percent sign that stays on its line.
  // Unknown values are a dash.
  const fixed = (value, digits) => value == null ? "–" : value.toFixed(digits).replace("-", "−");
  const percent = (share) => share == null ? "–" : `${fixed(100 * share, share < 0.0995 ? 1 : 0)}\u00a0%`;

  // An element with attributes (functions are listeners) and children (strings are text).
  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (typeof value === "function") element.addEventListener(name, value);
      else if (value === true) element.setAttribute(name, "");
      else if (value !== false && value != null) element.setAttribute(name, value);
    }
    element.append(...children.flat());
    return element;
  }

  // --- the viewer -------------------------------------------------------------------------------

  let viewers = 0;

  class Viewer {
    // `actions`: further actions on a word: {label(caption, t), run(caption, t)}.
    // `extra`: shown between the words and the candidates.
    // `chosen`: called with a candidate when it is shown.
    constructor(root, { actions = [], extra = [], chosen = () => {} } = {}) {
      this.root = root;
      this.actions = actions;
      this.extra = extra;
      this.chosen = chosen;
      this.id = `viewer${++viewers}`;
      this.opacity = 1;
      this.smoothness = 1;
      this.common = false;
      this.build();
    }

    build() {
      this.canvas = make("canvas", { role: "img", width: 4, height: 3 });
      this.context = this.canvas.getContext("2d", { willReadFrequently: true });
      this.sentence = make("div", {
        class: "sentence", role: "toolbar", dir: "auto", "aria-label": "The caption, word by word",
        keydown: (event) => this.move(event),
        pointerleave: () => this.preview(null),
        pointermove: (event) => event.pointerType !== "mouse" && this.slide(event),
      });
      this.reading = make("p", { class: "reading", role: "status" });
      this.note = make("p", { class: "note", hidden: true });
      this.gaps = make("ul", { class: "gaps" });
      this.filling = make("section", { "aria-labelledby": `${this.id}-gaps`, hidden: true },
        make("h2", { id: `${this.id}-gaps` }, "Words filled in"), this.gaps);
      this.doing = make("div", { class: "buttons doing" });
      this.plain = make("button", { type: "button", click: () => this.pin(null) }, "Photo only");
      this.player = make("button", { type: "button", click: () => this.play() }, "Play");
      const scale = make("input", {
        type: "checkbox", id: `${this.id}-scale`,
        change: (event) => { this.common = event.target.checked; this.draw(); },
      });
      this.part = make("select", {
        id: `${this.id}-part`, change: () => this.select(this.part.selectedIndex),
      });
      this.multiples = make("div", {
        class: "multiples", role: "toolbar", hidden: true, "aria-label": "The word's maps, one by one",
        keydown: (event) => this.walk(event, [...this.multiples.children]),
      });
      this.parts = make("div", { class: "check", hidden: true },
        make("label", { for: this.part.id }, "Map"), this.part);
      this.others = make("ol", { class: "candidates" });
      this.numbers = make("div", {
        class: "scroll", tabindex: 0, role: "region", "aria-label": "The numbers",
      });
      this.root.replaceChildren(
        make("div", { class: "looking" },
          make("div", { class: "side" }, make("div", { class: "stage" }, this.canvas)),
          make("div", { class: "panel" },
            this.sentence, this.note,
            this.filling, this.reading,
            make("div", { class: "buttons" }, this.plain, this.player),
            this.doing, this.extra, this.multiples,
            make("div", { class: "sliders" }, this.parts,
              this.slider("Opacity", "opacity"), this.slider("Smoothness", "smoothness"),
              make("div", { class: "check" }, scale,
                make("label", { for: scale.id }, "One brightness scale for all words"))),
            make("section", { "aria-labelledby": `${this.id}-others` },
              make("h2", { id: `${this.id}-others` }, "Candidates"), this.others))),
        make("details", { class: "numbers" },
          make("summary", {}, "The numbers behind it"), this.numbers));
      this.root.classList.add("viewer");
    }

    slider(name, property) {
      const id = `${this.id}-${property}`;
      const shown = make("output", { for: id }, "100 %");
      const input = make("input", {
        type: "range", id, min: 0, max: 100, value: 100, step: 5,
        input: () => {
          this[property] = input.value / 100;
          shown.textContent = `${input.value} %`;
          this.draw();
        },
      });
      return make("div", { class: "slider" }, make("label", { for: id }, name), input, shown);
    }

    // Show a photo: {geometry, captions} and the address of its picture. Returns whether it is
    // shown: another one, requested later, may have been quicker.
    async show(photo, source) {
      if (!(await this.picture(source))) return false;
      this.root.classList.remove("waiting");
      this.photo = photo;
      this.note.hidden = !photo.note;
      this.note.textContent = photo.note ? `This photo is ${photo.note}.` : "";
      this.others.replaceChildren(...photo.captions.map((caption, number) =>
        make("li", {}, make("button", { type: "button", click: () => this.choose(number) },
          make("span", { class: "text", dir: "auto" }, caption.words.length ? marked(caption) : "(no words)"),
          make("span", { class: "score", title: "Score: log-probability, by length" },
            fixed(caption.score, 2))))));
      this.choose(0);
      return true;
    }

    // Show a picture whose captions are still to come; null if there is none to show yet.
    async wait(source, text) {
      this.stop();
      this.root.classList.add("waiting");
      this.at = [];
      this.words = new Map();
      this.shown = this.pinned = this.pixels = null;
      this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
      this.canvas.setAttribute("aria-label", text);
      this.sentence.replaceChildren(make("span", { class: "quiet" }, text));
      this.coming = null;
      return source === null || this.picture(source);
    }

    // Load a picture into the canvas; returns whether it is still the one wanted.
    async picture(source) {
      const image = (this.coming = new Image());
      image.src = source;
      await image.decode();
      if (this.coming !== image) return false;
      const { naturalWidth: width, naturalHeight: height } = image;
      const times = Math.max(1, Math.ceil(SMALLEST / Math.max(width, height)));
      this.canvas.width = width * times;
      this.canvas.height = height * times;
      this.canvas.style.setProperty("--aspect", width / height);
      this.context.imageSmoothingEnabled = times < 4; // a tiny photo keeps its pixels
      this.context.drawImage(image, 0, 0, this.canvas.width, this.canvas.height);
      this.pixels = this.context.getImageData(0, 0, this.canvas.width, this.canvas.height);
      const less = SMALL / Math.max(width, height);
      const sides = [width, height].map((side) => Math.max(1, Math.round(side * less)));
      const small = make("canvas", { width: sides[0], height: sides[1] }).getContext("2d");
      small.imageSmoothingQuality = "high";
      small.drawImage(image, 0, 0, ...sides);
      this.small = small.getImageData(0, 0, ...sides);
      return true;
    }

    // Choose a candidate.
    choose(number) {
      this.stop();
      this.caption = this.photo.captions[number];
      [...this.others.children].forEach((item, k) =>
        item.firstChild.setAttribute("aria-pressed", k === number));
      const { words, only, confidences, unsure } = this.caption; // only: the positions of the words whose maps were requested
      this.at = words.map((_, t) => t).filter((t) => !only || only.includes(t));
      this.words = new Map();
      const shown = pieces(words).map(([before, said, after], t) => {
        const kind = ["word", t && !before && "joined", unsure[t] && "unsure",
          this.everywhere(t) && "wide",
          t < (this.photo.fixed ?? 0) && "fixed"];
        const style = kind.filter(Boolean).join(" ");
        const more = unsure[t] ? doubt(confidences[t]) : {};
        const word = !this.at.includes(t) ? make("span", { class: `${style} still`, ...more }, said)
          : make("button", {
            type: "button", class: style, ...more,
            "aria-label": unsure[t] && `${said} (unsure)`,
            "aria-pressed": "false", tabindex: t === this.at[0] ? 0 : -1,
            click: () => this.pin(t), focus: () => this.pin(t),
            pointerenter: (event) => event.pointerType === "mouse" && this.point(t),
          }, said);
        if (this.at.includes(t)) this.words.set(t, word);
        else if (unsure[t]) word.append(heard());
        return [before, word, after && make("span", { class: "stop" }, after)];
      });
      this.sentence.replaceChildren(...(words.length ? shown.flat() : ["(no words)"]));
      const names = this.caption.part_names ?? [];
      this.parts.hidden = !names.length;
      const kept = Math.min(Math.max(this.part.selectedIndex, 0), names.length);
      const maps = ["all together", ...names];
      this.part.replaceChildren(...maps.map((each) => make("option", {}, each)));
      this.multiples.replaceChildren(...(names.length ? maps : []).map((each, k) =>
        make("button", { type: "button", click: () => this.select(k) },
          make("canvas", {
            width: this.small.width, height: this.small.height, "aria-hidden": "true",
          }), make("span", {}, each))));
      this.drawn = null;
      this.mark(kept);
      const gaps = this.caption.gaps ?? [];
      this.filling.hidden = !gaps.length;
      this.gaps.replaceChildren(...gaps.map((gap) => this.filled(gap)));
      this.tabulate();
      this.player.disabled = this.plain.disabled = !this.at.length;
      this.pin(only ? this.at[0] ?? null : null);
      this.chosen(this.caption);
    }

    // A gap's line: the word that was filled in, and what else it might be.
    filled({ place, candidates }) {
      const word = this.caption.words[place], shown = this.words.has(place);
      const name = shown ? make("button", { type: "button", click: () => this.focus(place) }, word)
        : make("strong", {}, word);
      const others = candidates.map(([each, share]) => `${each} ${percent(share)}`);
      return make("li", {}, name, make("span", { dir: "auto" }, others.join(" · ")));
    }

    // Show a word's map until another is pinned; null shows the photo alone.
    pin(t) {
      if (this.playing !== undefined && t !== this.at[this.step]) this.stop();
      this.pinned = t;
      this.words.forEach((word, k) => {
        word.setAttribute("aria-pressed", k === t);
        if (t !== null) word.tabIndex = k === t ? 0 : -1;
      });
      this.plain.setAttribute("aria-pressed", t === null);
      this.multiples.hidden = t === null || !this.caption.parts;
      this.doing.replaceChildren(...(t === null || this.telling ? [] : this.actions.map((action) =>
        make("button", { type: "button", click: () => action.run(this.caption, t) },
          action.label(this.caption, t)))));
      this.preview(null);
    }

    // Go to a word, or to the last one if the caption is shorter.
    focus(t) {
      (this.words.get(t) ?? this.words.get(this.at.at(-1)))?.focus();
    }

    point(t) {
      if (this.telling) this.stop();
      this.preview(t);
    }

    // Show a word's map while it is pointed at; null goes back to the pinned one.
    preview(t) {
      this.shown = t ?? this.pinned;
      this.words.forEach((word, k) => word.classList.toggle("shown", k === this.shown));
      this.draw();
      this.describe();
    }

    // A finger that slides over the words.
    slide(event) {
      const under = document.elementFromPoint(event.clientX, event.clientY);
      const t = this.at.find((each) => this.words.get(each) === under);
      if (t !== undefined && t !== this.pinned) this.pin(t);
    }

    move(event) {
      this.walk(event, this.at.map((t) => this.words.get(t)));
    }

    // Arrow keys, Home and End go from one button to another.
    walk(event, buttons) {
      const last = buttons.length - 1;
      const at = buttons.indexOf(document.activeElement);
      const [ahead, back] = getComputedStyle(event.currentTarget).direction === "rtl"
        ? ["ArrowLeft", "ArrowRight"] : ["ArrowRight", "ArrowLeft"];
      const to = {
        [ahead]: Math.min(at + 1, last), ArrowDown: Math.min(at + 1, last),
        [back]: Math.max(at - 1, 0), ArrowUp: Math.max(at - 1, 0), Home: 0, End: last,
      }[event.key];
      if (at < 0 || to === undefined) return;
      event.preventDefault();
      buttons[to].focus();
    }

    // Go through the words, one after the other; `telling` them, each appears when its turn comes.
    play(telling = false) {
      if (this.playing !== undefined) return this.stop();
      if (!this.at.length) return;
      this.player.textContent = "Stop";
      this.reading.setAttribute("aria-live", "off"); // too quick to read out
      this.telling = telling;
      this.sentence.classList.toggle("telling", telling);
      this.step = -1;
      const next = () => {
        if (++this.step >= this.at.length) {
          this.stop();
          if (telling) this.pin(null);
          return;
        }
        this.words.get(this.at[this.step]).classList.add("said");
        this.pin(this.at[this.step]);
      };
      this.playing = setInterval(next, telling ? 600 : 900);
      next();
    }

    stop() {
      clearInterval(this.playing);
      this.playing = undefined;
      this.telling = false;
      this.player.textContent = "Play";
      this.sentence.classList.remove("telling");
      this.reading.removeAttribute("aria-live");
    }

    // Draw at most once a frame.
    draw() {
      if (this.waiting) return;
      this.waiting = requestAnimationFrame(() => {
        this.waiting = 0;
        this.paint();
        this.paintParts();
      });
    }

    paint() {
      if (!this.pixels) return;
      const { width, height } = this.canvas;
      if (this.shown == null) return this.context.putImageData(this.pixels, 0, 0);
      this.context.putImageData(this.lit(this.pixels, this.shown, this.part.selectedIndex), 0, 0);
    }

    // The pinned word's maps, each over a small picture.
    paintParts() {
      const t = this.pinned;
      const drawn = [t, this.opacity, this.smoothness, this.common].join();
      if (!this.pixels || t == null || this.multiples.hidden || drawn === this.drawn) return;
      this.drawn = drawn;
      [...this.multiples.children].forEach((button, part) => {
        const [canvas, name] = button.children;
        canvas.getContext("2d", { willReadFrequently: true }).putImageData(this.lit(this.small, t, part), 0, 0);
        button.setAttribute("aria-label", `${name.textContent}: ${this.where(t, part)}`);
      });
    }

    // A photo's pixels under a word's map.
    lit(pixels, t, part) {
      const map = this.map(t, part), { smoothness } = this;
      const full = this.common ? Math.max(...this.caption.words.map((_, t) => peak(this.map(t, part))))
        : peak(map) * Math.max(this.area(t, part) / this.photo.somewhere, 1) ** 2;
      const values = heat(map, this.photo.geometry, pixels.width, pixels.height, { smoothness, full });
      return overlay(pixels, values, this.opacity);
    }

    // Show the map of all together (0), or of a head, hop or level (from 1 on).
    select(part) {
      this.mark(part);
      this.draw();
      this.describe();
    }

    mark(part) {
      this.part.selectedIndex = part;
      [...this.multiples.children].forEach((button, k) => {
        button.setAttribute("aria-pressed", k === part);
        button.tabIndex = k === part ? 0 : -1;
      });
    }

    // A word's map: of all together, or of a head, hop or level.
    map(t, part = this.part.selectedIndex) {
      return part < 1 || !this.caption.parts ? this.caption.attention[t] : this.caption.parts[t][part - 1];
    }

    // The smallest share of the grid that holds half of a word's map, as in the library.
    area(t, part = this.part.selectedIndex) {
      const map = this.map(t, part);
      return map === this.caption.attention[t] ? this.caption.half_area[t] : halfArea(map);
    }

    // Where a word's map is brightest, in words.
    where(t, part) {
      const there = place(this.map(t, part), this.photo.geometry);
      return this.area(t, part) > this.photo.somewhere ? "nearly everywhere" : `most at the ${there}`;
    }

    // Whether a word's attention is spread over the photo.
    everywhere(t) {
      return this.caption.half_area[t] > this.photo.somewhere;
    }

    // Describe in words what is shown. Cells and gates are visual: they are not read out.
    describe() {
      const t = this.shown, { caption, words } = this.caption;
      const seen = (text) => make("span", { "aria-hidden": "true" }, text);
      const ask = matchMedia("(hover: none)").matches ? "Tap" : "Point at";
      let text = [this.at.length ? `${ask} a word to see where the model looked when it said it.` : ""];
      if (this.caption.unsure.includes(true))
        text.push(` Dotted words are unsure: their probability is under ${percent(this.photo.unsure_below)}.`);
      let label = `The photo. Caption: ${caption || "no words"}`;
      if (t != null) {
        const { confidences, unsure, betas, sentinel, part_names } = this.caption;
        const map = this.map(t), where = place(map, this.photo.geometry);
        const most = peak(map), cells = map.length * map[0].length;
        const how = this.area(t) > this.photo.somewhere ? `looked everywhere, a little more at the ${where}`
          : `looked most at the ${where}`;
        text = [
          `“${words[t]}”, word ${t + 1} of ${words.length}` +
            `${this.part.selectedIndex > 0 ? ` (${part_names[this.part.selectedIndex - 1]})` : ""}: ${how}`,
          seen(`, with ${percent(most)} of its attention in one cell of ${cells}`),
          confidences[t] == null ? ". Probability unknown"
            : `. Probability ${percent(confidences[t])}${unsure[t] ? " (unsure)" : ""}`,
          seen(`${betas ? `, gate β\u00a0${fixed(betas[t], 2)}` : ""}` +
            `${sentinel ? `, ${percent(sentinel[t])} kept for the sentinel` : ""}`),
          ".",
        ];
        label += ` Bright: where the model looked for “${words[t]}”, ` +
          `${this.where(t)}.`;
      }
      this.reading.replaceChildren(...text);
      this.canvas.setAttribute("aria-label", label);
    }

    tabulate() {
      const { words, log_probs, confidences, confidence, unsure, betas, sentinel, attention, log_prob, score } =
        this.caption;
      const { geometry } = this.photo;
      const gate = (...cells) => (betas ? cells : []);  // a model may have none
      const kept = (...cells) => (sentinel ? cells : []);
      const head = ["Word", "Probability", "log p", ...gate("Gate β"), ...kept("Sentinel"), "Brightest cell", "Where"];
      const row = (name, ...cells) => make("tr", {},
        make("th", { scope: "row" }, name), cells.map((cell) => make("td", {}, cell)));
      const body = this.at.map((t) => row(
        words[t], percent(confidences[t]) + (unsure[t] ? " (unsure)" : ""), fixed(log_probs[t], 3),
        ...gate(betas && fixed(betas[t], 3)), ...kept(sentinel && percent(sentinel[t])),
        percent(peak(attention[t])), this.everywhere(t) ? "everywhere" : place(attention[t], geometry)));
      if (log_probs.length > words.length && this.at.length === words.length) {
        const end = log_probs[words.length];
        body.push(row("(end)", percent(Math.exp(end)), fixed(end, 3), ...gate(""), ...kept(""), "", ""));
      }
      const grid = attention.length ? `${attention[0].length} × ${attention[0][0].length}` : "none";
      this.numbers.replaceChildren(
        make("table", {},
          make("caption", {}, `log p of the caption ${fixed(log_prob, 3)}, score ` +
            `${fixed(score, 3)} (by length), mean probability ${percent(confidence)} (geometric); grid of ${grid} cells; photo of ` +
            `${geometry.image_size.join(" × ")} pixels`),
          make("thead", {}, make("tr", {}, head.map((each) => make("th", { scope: "col" }, each)))),
          make("tbody", {}, body)));
    }
  }

  // Light or dark as in the system's settings, until the reader chooses.
  function theme(button) {
    const root = document.documentElement, system = matchMedia("(prefers-color-scheme: dark)");
    const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
    const label = () => { button.textContent = dark() ? "Light" : "Dark"; };
    button.addEventListener("click", () => {
      root.dataset.theme = dark() ? "light" : "dark";
      label();
    });
    system.addEventListener("change", label);
    button.hidden = false;
    label();
  }

  return { Viewer, halfArea, heat, make, overlay, theme };
})();
