// Decoders that a page runs: functions from coordinates in the plane of the plot to an image.

// The numbers in base64, little-endian: float32, or float16, which few browsers know.
function floats(text, isHalf) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  if (!isHalf) {
    return Float32Array.from({ length: bytes.length / 4 }, (_, i) => view.getFloat32(4 * i, true));
  }
  return Float32Array.from({ length: bytes.length / 2 }, (_, i) => {
    const bits = view.getUint16(2 * i, true);
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    // Subnormal numbers have no leading one.
    return sign * (exponent ? 2 ** (exponent - 25) * (1024 + fraction) : 2 ** -24 * fraction);
  });
}

const ACTIVATIONS = {
  relu: (value) => Math.max(0, value),
  silu: (value) => value / (1 + Math.exp(-value)),
  sigmoid: (value) => 1 / (1 + Math.exp(-value)),
};

// A multilayer perceptron: each layer is activation(input · kernel + bias).
function denseDecoder(layers, [height, width, channels]) {
  const network = layers.map((layer, index) => ({
    kernel: floats(layer.kernel, index > 0),
    bias: floats(layer.bias, false),
    activation: ACTIVATIONS[layer.activation],
  }));
  const decode = (x, y) => {
    let values = [x, y];
    for (const { kernel, bias, activation } of network) {
      const outputs = Float32Array.from(bias);
      values.forEach((value, row) => {
        if (value === 0) return;
        const start = row * outputs.length;
        for (let i = 0; i < outputs.length; i++) outputs[i] += value * kernel[start + i];
      });
      values = outputs.map(activation);
    }
    return values;
  };
  return { height, width, channels, decode };
}

// The step below a coordinate, and how far the coordinate is on the way to the next one.
function between(steps, value) {
  const last = steps.length - 1;
  if (!(value > steps[0])) return [0, 0];
  if (value >= steps[last]) return [last - 1, 1];
  const next = steps.findIndex((step) => step > value);
  return [next - 1, (value - steps[next - 1]) / (steps[next] - steps[next - 1])];
}

// Images between those of a grid: the mean of the four around a point, weighted by nearness.
function gridDecoder(grid, steps, picture) {
  const { size, pitch, columns } = grid.sprite;
  const [height, width] = size;
  const source = document.createElement("canvas");
  [source.width, source.height] = [picture.naturalWidth, picture.naturalHeight];
  const context = source.getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, 0, 0);
  const read = (row, column) => {
    const index = row * grid.side + column;
    const [left, top] = [(index % columns) * pitch[1], Math.floor(index / columns) * pitch[0]];
    return context.getImageData(left, top, width, height).data;
  };
  const decode = (x, y) => {
    const [column, right] = between(steps.x, x);
    const [row, up] = between(steps.y, y);
    const values = new Float32Array(height * width * 3);
    for (const [r, c, weight] of [
      [row, column, (1 - up) * (1 - right)],
      [row, column + 1, (1 - up) * right],
      [row + 1, column, up * (1 - right)],
      [row + 1, column + 1, up * right],
    ]) {
      if (weight === 0) continue;
      const pixels = read(r, c);
      for (let i = 0; i < height * width; i++) {
        for (let k = 0; k < 3; k++) values[3 * i + k] += (weight * pixels[4 * i + k]) / 255;
      }
    }
    return values;
  };
  return { height, width, channels: 3, decode };
}

// Draws intensities from 0 to 1 on a canvas of the size of the image.
function drawImage(canvas, { height, width, channels }, values) {
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  for (let i = 0; i < height * width; i++) {
    for (let k = 0; k < 3; k++) {
      image.data[4 * i + k] = 255 * values[channels * i + (channels === 3 ? k : 0)];
    }
    image.data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}
