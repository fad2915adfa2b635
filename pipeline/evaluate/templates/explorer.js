// The plot of the encodings: zoom, classes that can be switched off, the image under the pointer,
// and a handle whose decoded image follows it.

function nice(extent, count) {
  const rough = extent / count;
  const unit = 10 ** Math.floor(Math.log10(rough));
  return unit * [1, 2, 5, 10].find((factor) => unit * factor >= rough);
}

// A number with a minus sign, as in the rest of the page.
function signed(number) {
  return `${number}`.replace("-", "−");
}

// Dark colors are lighter on a dark page.
function onPage(color) {
  if (!matchMedia("(prefers-color-scheme: dark)").matches) return color;
  const parts = [1, 3, 5].map((start) => parseInt(color.slice(start, start + 2), 16));
  const lightness = (0.21 * parts[0] + 0.72 * parts[1] + 0.07 * parts[2]) / 255;
  const share = Math.max(0, 0.45 - lightness);
  return `rgb(${parts.map((part) => Math.round(part + share * (255 - part)))})`;
}

function explore(data, picture, decoder) {
  const element = (id) => document.getElementById(id);
  const [canvas, handle, tip] = ["points", "handle", "tip"].map(element);
  const context = canvas.getContext("2d");
  const hidden = new Set();
  // The middle of the view in coordinates of the plane, and pixels per unit of each axis.
  const view = { x: 0, y: 0, scaleX: 1, scaleY: 1 };
  const point = { x: 0, y: 0 };
  let [width, height] = [0, 0];
  let colors = data.colors;
  let isWaiting = false;

  const toScreen = (x, y) => [
    width / 2 + (x - view.x) * view.scaleX,
    height / 2 - (y - view.y) * view.scaleY,
  ];
  const toPlane = (left, top) => [
    view.x + (left - width / 2) / view.scaleX,
    view.y - (top - height / 2) / view.scaleY,
  ];

  function reset() {
    const [left, right] = data.frame.x;
    const [bottom, top] = data.frame.y;
    [view.x, view.y] = [(left + right) / 2, (bottom + top) / 2];
    [view.scaleX, view.scaleY] = [width / (right - left), height / (top - bottom)];
    const [narrow, wide] = [right - left, top - bottom].sort((a, b) => a - b);
    // Both axes have the same scale, unless one would become too short.
    if (narrow > 0.6 * wide) view.scaleX = view.scaleY = Math.min(view.scaleX, view.scaleY);
  }

  function resize() {
    const box = canvas.getBoundingClientRect();
    const factor = width ? box.width / width : 1;
    [width, height] = [box.width, box.height];
    [canvas.width, canvas.height] = [width, height].map((side) => side * devicePixelRatio);
    view.scaleX *= factor;
    view.scaleY *= factor;
    // At once: a canvas of a new size is empty.
    draw();
  }

  function redraw() {
    if (isWaiting) return;
    isWaiting = true;
    requestAnimationFrame(() => {
      isWaiting = false;
      draw();
    });
  }

  function draw() {
    const style = getComputedStyle(canvas);
    context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    context.clearRect(0, 0, width, height);
    drawGrid(style.getPropertyValue("--line"), style.getPropertyValue("--muted"));
    const radius = Math.min(6, (data.x.length > 1500 ? 2.2 : 3.2) * Math.sqrt(zoom()));
    context.globalAlpha = data.x.length > 500 ? 0.75 : 0.9;
    for (let i = 0; i < data.x.length; i++) {
      if (hidden.has(data.classes[i])) continue;
      const [left, top] = toScreen(data.x[i], data.y[i]);
      if (left < -9 || top < -9 || left > width + 9 || top > height + 9) continue;
      context.fillStyle = colors[data.classes[i]];
      context.beginPath();
      context.arc(left, top, radius, 0, 2 * Math.PI);
      context.fill();
    }
    context.globalAlpha = 1;
    const [left, top] = toScreen(point.x, point.y);
    handle.style.transform = `translate(${left}px, ${top}px)`;
    handle.hidden = left < 0 || top < 0 || left > width || top > height;
  }

  const zoom = () => (view.scaleX * (data.frame.x[1] - data.frame.x[0])) / width;

  function drawGrid(line, text) {
    const [left, top] = toPlane(0, 0);
    const [right, bottom] = toPlane(width, height);
    context.strokeStyle = line;
    context.fillStyle = text;
    context.lineWidth = 1;
    context.font = "11px system-ui, sans-serif";
    context.beginPath();
    const stepX = nice(right - left, 6);
    for (let x = Math.ceil(left / stepX) * stepX; x < right; x += stepX) {
      const at = Math.round(toScreen(x, 0)[0]) + 0.5;
      context.moveTo(at, 0);
      context.lineTo(at, height);
      context.fillText(signed(+x.toPrecision(6)), at + 4, height - 6);
    }
    const stepY = nice(top - bottom, 6);
    for (let y = Math.ceil(bottom / stepY) * stepY; y < top; y += stepY) {
      const at = Math.round(toScreen(0, y)[1]) + 0.5;
      context.moveTo(0, at);
      context.lineTo(width, at);
      context.fillText(signed(+y.toPrecision(6)), 6, at - 4);
    }
    context.stroke();
  }

  function zoomBy(factor, left, top) {
    const bounded = Math.min(200, Math.max(0.3, zoom() * factor)) / zoom();
    const [x, y] = toPlane(left, top);
    view.scaleX *= bounded;
    view.scaleY *= bounded;
    // What is under the pointer stays there.
    view.x = x - (left - width / 2) / view.scaleX;
    view.y = y + (top - height / 2) / view.scaleY;
    redraw();
  }

  function moveHandle(left, top) {
    const within = (value, limit) => Math.min(limit, Math.max(0, value));
    // Outside the view, nobody could move it back.
    const [x, y] = toPlane(within(left, width), within(top, height));
    [point.x, point.y] = [x, y];
    [handle.dataset.x, handle.dataset.y] = [x, y];
    const values = decoder.decode(x, y);
    drawImage(element("decoded"), decoder, values);
    element("position").textContent = `${signed(x.toFixed(2))}, ${signed(y.toFixed(2))}`;
    redraw();
  }

  function nearest(left, top) {
    let [found, distance] = [-1, 14 ** 2];
    for (let i = 0; i < data.x.length; i++) {
      if (hidden.has(data.classes[i])) continue;
      const [x, y] = toScreen(data.x[i], data.y[i]);
      const squared = (x - left) ** 2 + (y - top) ** 2;
      if (squared < distance) [found, distance] = [i, squared];
    }
    return found;
  }

  function showTip(left, top) {
    const index = nearest(left, top);
    tip.hidden = index < 0;
    if (index < 0) return;
    const { columns, pitch, size } = data.sprite;
    const image = element("tip-image");
    [image.height, image.width] = size;
    const column = index % columns;
    const row = Math.floor(index / columns);
    image
      .getContext("2d")
      .drawImage(
        picture, column * pitch[1], row * pitch[0], size[1], size[0], 0, 0, size[1], size[0],
      );
    element("tip-class").textContent = data.names[data.classes[index]];
    element("tip-id").textContent = data.ids[index];
    const [x, y] = toScreen(data.x[index], data.y[index]);
    const toTheLeft = x > width / 2;
    tip.style.left = `${toTheLeft ? x - tip.offsetWidth - 14 : x + 14}px`;
    tip.style.top = `${Math.min(Math.max(0, y - 40), height - tip.offsetHeight)}px`;
  }

  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };

  // Pointers that are down on the plot, by their number: one moves the view, two zoom as well.
  const pointers = new Map();
  let hasMoved = false;
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, place(event));
    hasMoved = pointers.size > 1;
  });
  canvas.addEventListener("pointermove", (event) => {
    const [left, top] = place(event);
    const before = pointers.get(event.pointerId);
    if (!before) {
      showTip(left, top);
      return;
    }
    if (Math.hypot(left - before[0], top - before[1]) < 3 && !hasMoved) return;
    hasMoved = true;
    tip.hidden = true;
    view.x -= (left - before[0]) / view.scaleX / pointers.size;
    view.y += (top - before[1]) / view.scaleY / pointers.size;
    const [other] = [...pointers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
    if (other) {
      const distance = (at) => Math.hypot(at[0] - other[0], at[1] - other[1]) || 1;
      zoomBy(distance([left, top]) / distance(before), other[0], other[1]);
    }
    pointers.set(event.pointerId, [left, top]);
    redraw();
  });
  canvas.addEventListener("pointerup", (event) => {
    if (pointers.delete(event.pointerId) && !hasMoved) {
      const [left, top] = place(event);
      moveHandle(left, top);
      showTip(left, top);
    }
  });
  canvas.addEventListener("pointercancel", (event) => pointers.delete(event.pointerId));
  canvas.addEventListener("pointerleave", () => (tip.hidden = true));
  canvas.addEventListener(
    "wheel",
    (event) => {
      // Without a click before, the wheel scrolls the page.
      if (document.activeElement !== canvas && !event.ctrlKey) return;
      event.preventDefault();
      zoomBy(1.0015 ** -event.deltaY, ...place(event));
    },
    { passive: false },
  );

  handle.addEventListener("pointerdown", (event) => handle.setPointerCapture(event.pointerId));
  handle.addEventListener("pointermove", (event) => {
    if (handle.hasPointerCapture(event.pointerId)) moveHandle(...place(event));
  });
  const keys = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
  handle.addEventListener("keydown", (event) => {
    if (!keys[event.key]) return;
    event.preventDefault();
    const [left, top] = toScreen(point.x, point.y);
    const [right, down] = keys[event.key];
    moveHandle(left + 8 * right, top + 8 * down);
  });

  element("zoom-in").addEventListener("click", () => zoomBy(1.5, width / 2, height / 2));
  element("zoom-out").addEventListener("click", () => zoomBy(1 / 1.5, width / 2, height / 2));
  element("zoom-reset").addEventListener("click", () => {
    reset();
    redraw();
  });
  const classes = [...document.querySelectorAll("#classes button[data-class]")];
  const toggle = (button, isShown) => {
    button.setAttribute("aria-pressed", isShown);
    hidden[isShown ? "delete" : "add"](Number(button.dataset.class));
    tip.hidden = true;
    redraw();
  };
  for (const button of classes) {
    button.addEventListener("click", () =>
      toggle(button, button.getAttribute("aria-pressed") !== "true"),
    );
  }
  element("all-classes")?.addEventListener("click", () => {
    const areAllHidden = classes.every((button) => hidden.has(Number(button.dataset.class)));
    for (const button of classes) toggle(button, areAllHidden);
  });

  const recolor = () => {
    colors = data.colors.map(onPage);
    for (const button of classes) {
      button.style.setProperty("--color", colors[Number(button.dataset.class)]);
    }
    redraw();
  };

  recolor();
  resize();
  reset();
  moveHandle(width / 2, height / 2);
  draw();
  new ResizeObserver(resize).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolor);
  matchMedia("print").addEventListener("change", draw);
}

async function loaded(uri) {
  const picture = new Image();
  picture.src = uri;
  await picture.decode();
  return picture;
}

async function start() {
  const section = document.getElementById("explorer");
  if (!section) return;
  const data = JSON.parse(document.getElementById("explorer-data").textContent);
  const decoder =
    data.decoder.kind === "dense"
      ? denseDecoder(data.decoder.layers, data.image)
      : gridDecoder(data.grid, data.steps, await loaded(data.grid.sprite.uri));
  // The plot has a size only when it is shown.
  section.classList.add("live");
  explore(data, await loaded(data.sprite.uri), decoder);
}

start();
