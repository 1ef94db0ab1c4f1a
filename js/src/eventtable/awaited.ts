// Keys are faster than rows: what is to be done with a row that is still on its way is done when it is there.

interface Errand {
  at: number;
  call: (row: string) => void;
}

/** The rows in sight, of those that there are. */
interface Sight {
  top: number;
  sight: number;
  base: number;
  rows: number;
}

export class Awaited {
  private errands: Errand[] = [];

  /** *numberAt*: the number of the row at a position, if it is there. */
  constructor(private readonly numberAt: (at: number) => string | undefined) {}

  /** Calls with the row at a position, now or when it came, in the order in which this was asked. */
  row(at: number, call: (row: string) => void): void {
    if (at < 0) return;
    const number = this.errands.length === 0 ? this.numberAt(at) : undefined;
    if (number === undefined) this.errands.push({ at, call });
    else call(number);
  }

  /** Positions count from elsewhere now. */
  move(by: number): void {
    for (const errand of this.errands) errand.at += by;
  }

  /** Rows came. Those that are out of sight will not come any more: somebody scrolled on. */
  look({ top, sight, base, rows }: Sight): void {
    for (const { at, call } of this.errands.splice(0)) {
      if (at >= Math.floor(top) && at < Math.min(top + sight, base + rows)) this.row(at, call);
    }
  }
}
