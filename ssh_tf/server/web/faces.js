// The list of faces: one stop of the Tab key, arrows move inside; pointing and choosing are told.

class FaceList {
  // list: The element.
  // pointed: Called with the number of the face under the pointer, or -1.
  // chosen: Called with the number of the face that is chosen, or -1.
  // opened: Called with the number of a face that is to be seen from near.
  constructor(list, {pointed, chosen, opened}) {
    Object.assign(this, {list, chosen, selected: -1});
    const numberOf = (event) => [...list.children].indexOf(event.target.closest("li"));
    list.addEventListener("pointerover", (event) => pointed(numberOf(event)));
    list.addEventListener("pointerleave", () => pointed(-1));
    list.addEventListener("click", (event) => this.choose(numberOf(event)));
    list.addEventListener("dblclick", (event) => opened(numberOf(event)));
    list.addEventListener("focus", () => { if (this.selected < 0) this.choose(0); });
    list.addEventListener("keydown", (event) => {
      const last = list.children.length - 1;
      const next = {
        ArrowDown: Math.min(this.selected + 1, last), ArrowUp: Math.max(this.selected - 1, 0),
        Home: 0, End: last, Escape: -1,
      }[event.key];
      if (event.key === "Enter" && this.selected >= 0) opened(this.selected);
      else if (next !== undefined) this.choose(next);
      else return;
      event.preventDefault();
    });
  }

  show(faces) {
    this.list.hidden = !faces.length;
    this.list.replaceChildren(...faces.map(rowOf));
    this.selected = -1;
    this.list.removeAttribute("aria-activedescendant");
  }

  choose(number) {
    this.selected = number;
    [...this.list.children].forEach((row, i) => row.setAttribute("aria-selected", i === number));
    const row = this.list.children[number];
    if (row) this.list.setAttribute("aria-activedescendant", row.id);
    else this.list.removeAttribute("aria-activedescendant");
    this.reveal(number);
    this.chosen(number);
  }

  // Marks the face that is looked at.
  mark(number) {
    [...this.list.children].forEach((row, i) => row.classList.toggle("active", i === number));
  }

  // Scrolls the list, and nothing else, until a row is seen.
  reveal(number) {
    const row = this.list.children[number];
    if (!row) return;
    const start = row.offsetTop - this.list.offsetTop;
    const most = start + row.offsetHeight - this.list.clientHeight;
    this.list.scrollTop = Math.min(Math.max(this.list.scrollTop, most), start);
  }
}

function rowOf({box: [x1, y1, x2, y2], score}, i) {
  const row = document.createElement("li");
  row.id = `face-${i}`;
  row.setAttribute("role", "option");
  row.setAttribute("aria-selected", false);
  const size = document.createElement("span");
  size.className = "size";
  size.textContent = `${Math.round(x2 - x1)} × ${Math.round(y2 - y1)} px`;
  row.append(sampleOf(score), `${score.toFixed(3)} `, size);
  return row;
}

// A square of the score's color.
function sampleOf(score) {
  const space = "http://www.w3.org/2000/svg";
  const [picture, square] = ["svg", "rect"].map((name) => document.createElementNS(space, name));
  picture.setAttribute("viewBox", "0 0 8 8");
  picture.setAttribute("aria-hidden", "true");
  for (const [key, value] of Object.entries({width: 8, height: 8, rx: 2, fill: rgb(scoreColor(score))})) {
    square.setAttribute(key, value);
  }
  picture.append(square);
  return picture;
}
