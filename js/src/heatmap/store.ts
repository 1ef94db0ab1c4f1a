// The columns that arrived, by their number; what a frame says replaces what was there. No DOM: tested by itself.

export interface Columns {
  /** Where the numbering, the buckets or the length of a column changed, all starts again. */
  binning: number;
  first: number;
  stop: number;
  from: number;
  buckets: number;
  counts: ArrayLike<number>;
  /** Absent: all were measured. */
  measured?: ArrayLike<number> | undefined;
  /** Absent: nothing was lost. */
  lost?: ArrayLike<number> | undefined;
}

export class Store {
  first = 0;
  stop = 0;
  buckets = 0;
  private binning = -1;
  private counts = new Float64Array(0);
  private measured = new Uint8Array(0);
  private lost = new Float64Array(0);
  private capacity = 0;

  take(frame: Columns): void {
    const count = frame.stop - frame.from;
    if (frame.binning !== this.binning || frame.buckets !== this.buckets) {
      this.binning = frame.binning;
      this.buckets = frame.buckets;
      this.allocate(frame.stop - frame.first);
      this.first = this.stop = frame.from;
    }
    if (frame.stop - frame.first > this.capacity) this.grow(2 * (frame.stop - frame.first));
    for (let column = Math.max(this.stop, frame.first); column < frame.stop; column++) this.blank(column);
    for (let column = frame.first; column < Math.min(this.first, frame.from); column++) this.blank(column);
    this.first = frame.first;
    this.stop = frame.stop;
    for (let i = 0; i < count; i++) {
      const column = frame.from + i;
      if (column < this.first || column >= this.stop) continue;
      const row = this.row(column);
      for (let b = 0; b < this.buckets; b++) this.counts[row * this.buckets + b] = frame.counts[i * this.buckets + b] ?? 0;
      this.measured[row] = frame.measured ? (frame.measured[i] ?? 0) : 1;
      this.lost[row] = frame.lost?.[i] ?? 0;
    }
  }

  count(column: number, bucket: number): number {
    return this.has(column) ? (this.counts[this.row(column) * this.buckets + bucket] ?? 0) : 0;
  }

  /** False: a gap, in which nothing was measured. A count says that something was. */
  isMeasured(column: number): boolean {
    if (!this.has(column)) return false;
    if (this.measured[this.row(column)]) return true;
    for (let b = 0; b < this.buckets; b++) if (this.count(column, b) > 0) return true;
    return false;
  }

  lostIn(column: number): number {
    return this.has(column) ? (this.lost[this.row(column)] ?? 0) : 0;
  }

  /** The largest count and the sum of all from column `first` on. */
  extent(first: number): { most: number; total: number } {
    let [most, total] = [0, 0];
    for (let column = Math.max(first, this.first); column < this.stop; column++) {
      const start = this.row(column) * this.buckets;
      for (let i = start; i < start + this.buckets; i++) {
        const value = this.counts[i] ?? 0;
        total += value;
        if (value > most) most = value;
      }
    }
    return { most, total };
  }

  /** Cells of `width` columns before `stop` as pixels, the highest bucket on top; gaps are transparent. */
  paint(pixels: Uint32Array, width: number, zero: number, color: (count: number) => number): void {
    pixels.fill(0);
    const start = this.stop - width;
    for (let column = Math.max(start, this.first); column < this.stop; column++) {
      if (!this.isMeasured(column)) continue;
      const cells = this.row(column) * this.buckets;
      for (let b = 0; b < this.buckets; b++) {
        const count = this.counts[cells + b] ?? 0;
        pixels[(this.buckets - 1 - b) * width + column - start] = count > 0 ? color(count) : zero;
      }
    }
  }

  private has(column: number): boolean {
    return column >= this.first && column < this.stop;
  }

  private row(column: number): number {
    return ((column % this.capacity) + this.capacity) % this.capacity;
  }

  private blank(column: number): void {
    const row = this.row(column);
    this.counts.fill(0, row * this.buckets, (row + 1) * this.buckets);
    this.measured[row] = 0;
    this.lost[row] = 0;
  }

  private allocate(capacity: number): void {
    this.capacity = Math.max(1, capacity);
    this.counts = new Float64Array(this.capacity * this.buckets);
    this.measured = new Uint8Array(this.capacity);
    this.lost = new Float64Array(this.capacity);
  }

  private grow(capacity: number): void {
    const { first, stop, buckets } = this;
    const rows = Array.from({ length: stop - first }, (_, i) => {
      const row = this.row(first + i);
      const counts = this.counts.slice(row * buckets, (row + 1) * buckets);
      return { counts, measured: this.measured[row] ?? 0, lost: this.lost[row] ?? 0 };
    });
    this.allocate(capacity);
    rows.forEach(({ counts, measured, lost }, i) => {
      const row = this.row(first + i);
      this.counts.set(counts, row * buckets);
      this.measured[row] = measured;
      this.lost[row] = lost;
    });
  }
}
