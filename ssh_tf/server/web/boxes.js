"use strict";
// Boxes and scores on a canvas: colors and places are those of ssh_tf/imaging/draw.py.
// A face is {box: [x1, y1, x2, y2], score}.

const UNSURE = [43, 98, 255];
const SURE = [38, 222, 95];
const BRIGHT = 0.18;          // Dark letters are read better from this luminance on.
const BOX_PER_LINE = 16;      // Lines are finer on small boxes.
const MIN_WIDTH = 0.75;       // A score is written if its box is at least this part of its width.
const MAX_HIDDEN = 0.1;       // And inside, if it hides no more than this part of the box.

function scoreColor(score) {
  const share = Math.min(Math.max(2 * score - 1, 0), 1);
  return UNSURE.map((low, i) => Math.round(low + (SURE[i] - low) * share));
}

function inkOn(color) {
  const [red, green, blue] = color.map((value) => (value / 255) ** 2.2);
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > BRIGHT ? "#000" : "#fff";
}

const rgb = (color) => `rgb(${color.join(", ")})`;

// view: `left` and `top`, what of the picture is in the canvas' corner, px of the picture; `scale`,
// px of the canvas for one of the picture; `unit`, px of the canvas for one of a line's width.
function paint(canvas, frame, faces, view, active) {
  const pen = canvas.getContext("2d");
  const {left, top, scale, unit} = view;
  pen.globalAlpha = 1;
  pen.drawImage(frame, left, top, canvas.width / scale, canvas.height / scale,
    0, 0, canvas.width, canvas.height);
  const placed = faces.map(({box: [x1, y1, x2, y2], score}) => ({
    box: [(x1 - left) * scale, (y1 - top) * scale, (x2 - left) * scale, (y2 - top) * scale], score,
  }));
  const first = placed[active];
  for (const face of placed.slice().reverse()) {   // The best on top.
    pen.globalAlpha = first && face !== first ? 0.5 : 1;
    if (face !== first) outline(pen, face, unit);
  }
  pen.globalAlpha = 1;
  if (first) outline(pen, first, 2 * unit);
  const order = first ? [first, ...placed.filter((face) => face !== first)] : placed;
  writeScores(pen, order, unit, [canvas.width, canvas.height], Boolean(first));
}

function outline(pen, {box: [x1, y1, x2, y2], score}, unit) {
  const width = unit * Math.min(Math.max(Math.min(x2 - x1, y2 - y1) / BOX_PER_LINE / unit, 1), 2);
  pen.strokeStyle = "rgba(0, 0, 0, .5)";
  pen.lineWidth = 2 * width;
  pen.strokeRect(x1, y1, x2 - x1, y2 - y1);
  pen.strokeStyle = rgb(scoreColor(score));
  pen.lineWidth = width;
  pen.strokeRect(x1, y1, x2 - x1, y2 - y1);
}

// `always`: The first score is written in any case.
function writeScores(pen, faces, unit, size, always) {
  pen.font = `600 ${13 * unit}px system-ui, sans-serif`;
  pen.textBaseline = "middle";
  const width = pen.measureText("0.00").width + 8 * unit;
  const height = 18 * unit;
  const boxes = faces.map(({box}) => clipped(box, size));
  const plates = placePlates(boxes, width, height, size, always);
  plates.forEach((plate, i) => {
    if (!plate) return;
    const color = scoreColor(faces[i].score);
    pen.fillStyle = rgb(color);
    pen.fillRect(plate[0], plate[1], width, height);
    pen.fillStyle = inkOn(color);
    pen.fillText(faces[i].score.toFixed(2), plate[0] + 4 * unit, plate[1] + height / 2 + unit / 2);
  });
}

// Returns for each box, the best first, where its score stands: it hides no other face and no other
// score. Nothing where there is no such place, but for the first one if it has to be `always`.
function placePlates(boxes, width, height, size, always) {
  const taken = [];
  return boxes.map((box, i) => {
    const places = placesOf(box, width, height, size);
    const plate = places.find((place) =>
      !taken.some((other) => overlap(place, other))
      && !boxes.some((other) => other !== box && overlap(place, other)))
      ?? (always && i === 0 ? besideOf(box, width, height, size) : undefined);
    if (plate) taken.push(plate);
    return plate;
  });
}

// Above a box, or below one at the upper edge.
function besideOf([x1, y1, x2, y2], width, height, size) {
  const [left, top] = clipped(
    [x1, y1 >= height ? y1 - height : y2, 0, 0], [size[0] - width, size[1] - height]);
  return [left, top, left + width, top + height];
}

function placesOf([x1, y1, x2, y2], width, height, size) {
  const wide = x2 - x1;
  if (wide < MIN_WIDTH * width || y2 <= y1) return [];
  const tops = [y1 - height, y2];
  if (wide >= width && width * height <= MAX_HIDDEN * wide * (y2 - y1)) tops.push(y1, y2 - height);
  return tops.filter((top) => top >= 0 && top + height <= size[1]).flatMap((top) =>
    [x1, x2 - width].map((left) => {
      const start = Math.min(Math.max(left, 0), size[0] - width);
      return [start, top, start + width, top + height];
    }));
}

function clipped([x1, y1, x2, y2], [width, height]) {
  const within = (value, most) => Math.min(Math.max(value, 0), most);
  return [within(x1, width), within(y1, height), within(x2, width), within(y2, height)];
}

function overlap(a, b) {
  return a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];
}
