// The page: what is opened, asked, shown and saved.

const MODEL = document.body.dataset.model;
const LONGEST_PX = 4096;
const WAIT_MS = 90000;
// By the value of output detection_status.
const REASONS = ["", "neither JPEG nor PNG", "too large", "not whole"];
const $ = (id) => document.getElementById(id);
const canvas = $("picture");
const frame = document.createElement("canvas");   // The picture without boxes, as it is sent.
const view = new View(canvas, frame, redraw);
const list = new FaceList($("faces"), {
  pointed: (number) => point(number),
  chosen: () => redraw(),
  opened: (number) => { if (shown[number]) view.show(shown[number].box); },
});

let name = "";         // Of the picture, without its suffix.
let faces = [];        // {box: [x1, y1, x2, y2] px, score}, best first
let shown = [];        // Those of the minimum score.
let pointedAt = -1;    // Which of them is under the pointer.
let milliseconds = null;   // From the picture to its answer, once there is one.
let stream = null;     // The camera's, while it is on.
let latest = 0;        // Number of the newest request: answers to older ones are dropped.

class Problem extends Error {}

// ---- What is shown ----

function tell(problem) {
  $("error").textContent = problem;
  $("error").hidden = !problem;
}

function update() {
  const minimum = Number($("threshold").value);
  const there = milliseconds !== null;
  shown = faces.filter((face) => face.score >= minimum);
  pointedAt = -1;
  $("minimum").textContent = minimum.toFixed(2);
  const found = shown.length === 1 ? "1 face" : `${shown.length} faces`;
  $("count").textContent = there ? found : "";
  $("detail").textContent = frame.width
    ? `${frame.width} × ${frame.height} px, ${there ? `${milliseconds} ms` : "no answer"}`
    : "no picture yet";
  if (!there && !$("busy").hidden) $("detail").textContent = "looking for faces";
  canvas.setAttribute("aria-label", there ? `Picture with ${found} marked` : "Picture");
  $("downloads").hidden = !there;
  list.show(shown);
  if (frame.width) view.resize();
  redraw();
}

function redraw() {
  if (!frame.width) return;
  const active = pointedAt >= 0 ? pointedAt : list.selected;
  paint(canvas, frame, shown, view.drawn, active);
  list.mark(active);
}

function point(number) {
  if (number === pointedAt) return;
  pointedAt = number;
  redraw();
}

// The smallest face that a point of the picture is in, or -1.
function faceAt([x, y]) {
  const area = ({box}) => (box[2] - box[0]) * (box[3] - box[1]);
  const there = shown.filter(({box}) => box[0] <= x && x <= box[2] && box[1] <= y && y <= box[3]);
  return shown.indexOf(there.sort((a, b) => area(a) - area(b))[0]);
}

function showPicture() {
  const there = frame.width > 0;
  $("hint").hidden = there;
  canvas.hidden = $("zoom").hidden = !there;
}

// Without a picture, `frame` is 0 px wide.
function clear() {
  faces = [];
  milliseconds = null;
  view.reset();
}

// ---- Pictures ----

function take(source, width, height) {
  const scale = Math.min(1, LONGEST_PX / Math.max(width, height));
  frame.width = Math.max(1, Math.round(width * scale));
  frame.height = Math.max(1, Math.round(height * scale));
  const pen = frame.getContext("2d");
  pen.fillStyle = "#ffffff";
  pen.fillRect(0, 0, frame.width, frame.height);
  pen.drawImage(source, 0, 0, frame.width, frame.height);
}

async function open(file) {
  if (!file) return;
  stopCamera();
  const number = latest;
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch (error) {
    frame.width = 0;
    fail(`${file.name || "This"} is not a picture that this browser can read.`);
    return;
  }
  if (number !== latest) return;   // Another one was opened meanwhile.
  name = (file.name || "picture").replace(/\.[^.]*$/, "");
  take(bitmap, bitmap.width, bitmap.height);
  bitmap.close();
  clear();
  await detect();
}

async function openSample() {
  try {
    const response = await fetch("sample.jpg");
    if (!response.ok) throw new Problem();
    await open(new File([await response.blob()], "sample.jpg"));
  } catch (error) {
    fail("The server can't be reached. Is it still running?");
  }
}

// ---- The server ----

async function base64(blob) {
  const reader = new FileReader();
  await new Promise((resolve, reject) => {
    reader.onload = resolve;
    reader.onerror = reject;
    reader.readAsDataURL(blob);
  });
  return reader.result.slice(reader.result.indexOf(",") + 1);
}

async function ask(blob) {
  const body = JSON.stringify({instances: [{b64: await base64(blob)}]});
  let response;
  try {
    response = await fetch(`/v1/models/${encodeURIComponent(MODEL)}:predict`, {
      method: "POST", body, signal: AbortSignal.timeout(WAIT_MS),
    });
  } catch (error) {
    throw new Problem(error.name === "TimeoutError"
      ? "The server took too long. Try a smaller picture."
      : "The server can't be reached. Is it still running?");
  }
  let answer = {};
  try { answer = await response.json(); } catch (error) { /* Told by the status below. */ }
  if (response.status === 503) throw new Problem("The server is busy. Try again in a moment.");
  if (!response.ok) {
    throw new Problem(`The server refused the picture: ${answer.error || response.status}`);
  }
  const version = response.headers.get("x-model-version");
  if (version) $("version").textContent = version;
  return answer.predictions[0];
}

function inPixels(found) {
  const faces = [];
  for (let i = 0; i < found.num_detections; i++) {
    const [y1, x1, y2, x2] = found.detection_boxes[i];
    const box = [x1 * frame.width, y1 * frame.height, x2 * frame.width, y2 * frame.height];
    faces.push({box, score: found.detection_scores[i]});
  }
  return faces;
}

// Sends what `frame` shows. The browser has turned it upright by then, so boxes and picture agree.
async function detect() {
  const number = ++latest;
  const started = performance.now();
  $("busy").hidden = false;
  tell("");
  showPicture();
  if (milliseconds === null) update();
  try {
    const blob = await new Promise((resolve) => frame.toBlob(resolve, "image/jpeg", 0.95));
    const found = await ask(blob);
    if (number !== latest) return;
    if (found.detection_status) {
      throw new Problem(`The server refused the picture: ${REASONS[found.detection_status]}.`);
    }
    faces = inPixels(found);
    milliseconds = Math.round(performance.now() - started);
    $("busy").hidden = true;
    update();
  } catch (error) {
    if (number !== latest) return;
    fail(error instanceof Problem ? error.message : `The answer can't be read: ${error.message}`);
  }
}

// An older result must not stand beside the error of a newer picture.
function fail(message) {
  stopCamera();
  clear();
  showPicture();
  update();
  tell(message);
}

// ---- The camera ----

function stopCamera() {
  latest++;
  $("busy").hidden = true;
  if (stream) for (const track of stream.getTracks()) track.stop();
  stream = null;
  $("camera").textContent = "Camera";
  $("camera").setAttribute("aria-pressed", "false");
  $("status").setAttribute("aria-live", "polite");
}

// One picture after the other: the next one is taken when the answer is drawn.
async function watch() {
  const video = document.createElement("video");
  video.muted = video.playsInline = true;
  const mine = stream;
  video.srcObject = mine;
  await video.play();
  name = "camera";
  clear();
  while (stream === mine) {
    take(video, video.videoWidth, video.videoHeight);
    await detect();
    await new Promise((resolve) => requestAnimationFrame(resolve));
  }
}

async function toggleCamera() {
  if (stream) { stopCamera(); return; }
  stopCamera();
  tell("");
  try {
    stream = await navigator.mediaDevices.getUserMedia({video: {facingMode: "user"}});
  } catch (error) {
    frame.width = 0;
    fail("There is no camera, or this page may not use it.");
    return;
  }
  $("camera").textContent = "Stop";
  $("camera").setAttribute("aria-pressed", "true");
  $("status").setAttribute("aria-live", "off");   // Several times a second is not for reading out.
  await watch();
}

// ---- Downloads ----

function save(blob, suffix) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${name}_faces.${suffix}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

// All of the picture, in its own size.
function savePicture() {
  const whole = document.createElement("canvas");
  whole.width = frame.width;
  whole.height = frame.height;
  const unit = Math.max(1, Math.sqrt(frame.width * frame.height) / 600);
  paint(whole, frame, shown, {left: 0, top: 0, scale: 1, unit}, -1);
  whole.toBlob((blob) => save(blob, "jpg"), "image/jpeg", 0.95);
}

// An entry as `ssh-tf detect --json` writes it, and which model it is from.
function saveJson() {
  const round = (value, digits) => Number(value.toFixed(digits));
  const entry = {
    image: name, height: frame.height, width: frame.width,
    faces: shown.map(({box, score}) => ({box: box.map((v) => round(v, 2)), score: round(score, 6)})),
    model: MODEL, version: $("version").textContent, minimum_score: Number($("threshold").value),
  };
  save(new Blob([`${JSON.stringify(entry, null, 1)}\n`], {type: "application/json"}), "json");
}

// ---- Events ----

const onClick = (id, act) => $(id).addEventListener("click", act);
onClick("choose", () => $("file").click());
onClick("camera", toggleCamera);
onClick("sample", openSample);
onClick("closer", () => view.zoomBy(1.5));
onClick("farther", () => view.zoomBy(1 / 1.5));
onClick("whole", () => view.zoomBy(1 / MAX_ZOOM));
onClick("save-picture", savePicture);
onClick("save-json", saveJson);
$("file").addEventListener("change", () => { open($("file").files[0]); $("file").value = ""; });
$("threshold").addEventListener("input", update);
window.addEventListener("resize", () => { if (frame.width) { view.resize(); redraw(); } });
canvas.addEventListener("pointermove", (event) => {
  if (!event.buttons) point(faceAt(view.inPicture(event)));
});
canvas.addEventListener("pointerleave", () => point(-1));
canvas.addEventListener("click", (event) => {
  if (view.dragged < 5) list.choose(faceAt(view.inPicture(event)));
});
document.addEventListener("paste", (event) => open(event.clipboardData.files[0]));
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  $("stage").classList.add("over");
});
document.addEventListener("dragleave", () => $("stage").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  $("stage").classList.remove("over");
  open(event.dataTransfer.files[0]);
});
frame.width = frame.height = 0;
