(() => {
  "use strict";
  const BEFORE = 12;
  const box = document.currentScript.closest(".latents");
  const data = JSON.parse(box.querySelector("script[type='application/json']").textContent);
  const table = box.querySelector("table");
  const groups = [...table.tBodies];
  const make = (name, text, attributes = {}) => {
    const element = document.createElement(name);
    element.textContent = text;
    Object.entries(attributes).forEach(([key, value]) => element.setAttribute(key, value));
    return element;
  };
  const names = { "\t": "⇥", "\n": "⏎", "\x7f": "␡" };
  const visible = (letter) => names[letter] || String.fromCharCode(0x2400 + letter.charCodeAt(0));
  const readable = (token) => token.replace(/[\x00-\x1f\x7f]/g, visible);

  // tools: search, score, reveal
  const tools = make("div", "", { class: "tools" });
  const label = make("label", "Search ");
  const search = make("input", "", { type: "search" });
  const status = make("span", "", { role: "status" });
  const all = make("button", "reveal all", { type: "button" });
  label.append(search);
  tools.append(label, all, status);
  table.before(tools);

  let guessed = 0;
  let right = 0;
  const say = () => {
    const shown = groups.filter((group) => !group.hidden).length;
    const score = guessed ? `, ${right} of ${guessed} guesses right` : "";
    status.textContent = `${shown} of ${groups.length} latents shown${score}`;
  };
  search.addEventListener("input", () => {
    const wanted = search.value.toLowerCase();
    groups.forEach((group, place) => {
      group.hidden = !found[place].includes(wanted);
    });
    say();
  });
  const words = (place) => {
    const row = data.rows[place];
    const texts = (data.texts ? data.texts[place] : []).map((tokens) => tokens.join(""));
    return [...row.tokens, ...row.up, ...row.down, ...texts].join(" ").toLowerCase();
  };
  const found = groups.map((_, place) => words(place));

  // guesses: the answer stays closed until one is made
  groups.forEach((group, place) => {
    const answer = group.querySelector("details.which");
    const buttons = make("span", "", { role: "group", "aria-label": `guess no. ${place + 1}` });
    const kinds = { trained: "trained", random: "untrained" };
    Object.entries(kinds).forEach(([kind, name]) => {
      const button = make("button", name, { type: "button" });
      button.addEventListener("click", () => {
        const good = kind === data.rows[place].kind;
        guessed += 1;
        right += good ? 1 : 0;
        buttons.remove();
        answer.open = true;
        answer.prepend(make("span", good ? "right: " : "wrong: "));
        answer.querySelector("summary").focus();
        say();
      });
      buttons.append(button);
    });
    answer.before(buttons);
    answer.addEventListener("toggle", () => buttons.remove());
  });
  all.addEventListener("click", () => {
    box.querySelectorAll("details.which").forEach((answer) => {
      answer.open = true;
    });
  });

  // sorting: a button in every heading
  const value = (place, key) => {
    const row = data.rows[place];
    return Array.isArray(row[key]) ? (row[key][0] || "").trim().toLowerCase() : row[key];
  };
  const heads = [...table.tHead.rows[0].cells].filter((head) => head.dataset.key !== "which");
  heads.forEach((head) => {
    const key = head.dataset.key;
    const button = make("button", head.textContent, { type: "button" });
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down === 1 ? "ascending" : "descending");
      const order = groups.map((_, place) => place);
      order.sort((a, b) => {
        const [x, y] = [value(a, key), value(b, key)];
        return down * (typeof x === "string" ? x.localeCompare(y) : x - y) || a - b;
      });
      table.append(...order.map((place) => groups[place]));
    });
  });

  // text, shaded by activation when it is opened
  const shade = (place, item, which) => {
    const [, position, , peak, shares] = data.places[place][which];
    const own = Math.min(position - data.first, BEFORE);
    const tokens = data.texts[place][which].map((token, index) => {
      const share = shares[index + BEFORE - own] / 100;
      const piece = make(index === own ? "mark" : "span", readable(token));
      piece.title = `activation ${(share * peak).toFixed(2)}`;
      piece.style.setProperty("--share", share);
      return piece;
    });
    item.replaceChildren(...tokens);
  };
  groups.forEach((group, place) => {
    const details = group.querySelector(".places details");
    if (!details || !data.texts) return;
    const items = [...details.querySelectorAll("li")];
    details.addEventListener("toggle", () => items.forEach((li, i) => shade(place, li, i)), {
      once: true,
    });
  });
  say();
})();
