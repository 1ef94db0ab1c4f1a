// The cells on a canvas: one pixel each, enlarged, over stripes where nothing was measured.

import { el } from "../lib/dom";
import type { Colors } from "../lib/theme";
import { pack, shade, table, ZERO } from "./colors";
import type { Plot } from "./plot";

export class Cells {
  readonly element = el("canvas", { class: "b-heat-cells", "aria-hidden": "true" });
  private readonly cells = document.createElement("canvas"); // a pixel a cell
  private readonly colors = table();
  private readonly zero = pack(ZERO);

  paint(plot: Plot, most: number): void {
    const { meta, shell, store, mapping } = plot;
    const { cells } = this;
    const { x, y, wide, tall } = plot.box;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [Math.round(shell.width * ratio), Math.round(shell.height * ratio)];
    if (this.element.width !== width || this.element.height !== height) [this.element.width, this.element.height] = [width, height];
    const context = this.element.getContext("2d");
    const small = cells.getContext("2d");
    if (!context || !small) return;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, shell.width, shell.height);
    context.fillStyle = hatch(context, shell.colors);
    context.fillRect(x, y, wide, tall);
    const [across, up] = [Math.max(1, meta.width), Math.max(1, meta.ranges.length)];
    if (cells.width !== across || cells.height !== up) [cells.width, cells.height] = [across, up];
    const image = small.createImageData(across, up);
    store.paint(new Uint32Array(image.data.buffer), across, this.zero, (count) => {
      return this.colors[Math.round(shade(count, most, mapping) * 255)] ?? 0;
    });
    small.putImageData(image, 0, 0);
    context.imageSmoothingEnabled = false;
    context.drawImage(cells, x, y, wide, tall);
  }
}

/** Stripes, for what was not measured. */
function hatch(context: CanvasRenderingContext2D, colors: Colors): CanvasPattern | string {
  const tile = document.createElement("canvas");
  tile.width = tile.height = 8;
  const pen = tile.getContext("2d");
  if (!pen) return colors.soft;
  pen.fillStyle = colors.soft;
  pen.fillRect(0, 0, 8, 8);
  pen.strokeStyle = colors.dim;
  pen.globalAlpha = 0.35; // the host's line colour may be that of its soft background
  pen.lineWidth = 1.5;
  for (const shift of [-8, 0, 8]) {
    pen.moveTo(shift - 1, 9);
    pen.lineTo(shift + 9, -1);
  }
  pen.stroke();
  return context.createPattern(tile, "repeat") ?? colors.soft;
}
