// Where the view stands among millions of rows. Browsers limit how tall an element may be (Firefox: 17.8 million
// px, Chromium: 33 million), so beyond a limit the scroll bar covers the rows in another scale than the rows are drawn.

export const ROW = 24; // px; bpfnb/views/events/widget.py has the same
export const TALLEST = 8_000_000; // px

export class Position {
  /** Rows are numbered from `base` on: those before were forgotten. */
  base = 0;
  rows = 0;
  /** Rows that fit, with the fraction of the last one. */
  sight = 1;
  /** The row at the upper edge, with the part of it that is scrolled away. */
  top = 0;

  get last(): number {
    return this.base + Math.max(0, this.rows - this.sight);
  }

  get scaled(): boolean {
    return this.rows * ROW > TALLEST;
  }

  /** Height that the scrolled content needs. */
  get height(): number {
    return Math.min(this.rows * ROW, TALLEST);
  }

  get atEnd(): boolean {
    return this.top >= this.last - 0.01;
  }

  /** Other rows, or another height. What is in sight stays in sight as long as it is there. */
  set(base: number, rows: number, sight: number): void {
    this.base = base;
    this.rows = rows;
    this.sight = Math.max(1, sight);
    this.to(this.top);
  }

  to(top: number): void {
    this.top = Math.min(this.last, Math.max(this.base, top));
  }

  by(px: number): void {
    this.to(this.top + px / ROW);
  }

  /** Bring a row into sight, at the nearer edge. */
  reveal(row: number): void {
    if (row < this.top) this.to(row);
    else if (row + 1 > this.top + this.sight) this.to(row + 1 - this.sight);
  }

  /** scrollTop that stands for `top`, where it goes up to `range`. */
  toBar(range: number): number {
    const span = this.last - this.base;
    return span > 0 ? ((this.top - this.base) / span) * range : 0;
  }

  /** The bar was moved from `before` to `now`: by a wheel or a finger (little), or dragged. */
  fromBar(now: number, before: number, range: number): void {
    const little = Math.abs(now - before) < this.sight * ROW;
    if (this.scaled && little && now > 0 && now < range) this.by(now - before);
    else this.to(this.base + (range > 0 ? now / range : 0) * (this.last - this.base));
  }
}
