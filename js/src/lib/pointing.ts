// A picture under a pointer: what is pointed at and dragged over, and keys while it has the focus.

import type { Shell } from "./widget";

/** *Place* is what can be pointed at, *Drag* where a drag began and has come to. */
export abstract class Pointing<Meta, Place, Drag> {
  protected cursor: Place | undefined;
  protected drag: Drag | undefined;

  constructor(protected readonly shell: Shell<Meta>) {}

  protected abstract moved(event: PointerEvent): void;
  protected abstract pressed(event: PointerEvent): void;
  protected abstract dragged(drag: Drag): void;
  protected abstract key(event: KeyboardEvent): void;

  /** What fails from now on over *picture* stands under the view. */
  protected listen(picture: SVGElement): void {
    const on = <E extends Event>(name: string, call: (event: E) => void) =>
      picture.addEventListener(name, ((event: E) => this.shell.guard(() => call(event))) as EventListener);
    on<PointerEvent>("pointermove", (event) => this.moved(event));
    on<PointerEvent>("pointerdown", (event) => this.pressed(event));
    on("pointerup", () => this.released());
    on("pointercancel", () => (this.drag = undefined));
    on("pointerleave", () => this.left());
    on("blur", () => this.left());
    on<KeyboardEvent>("keydown", (event) => this.key(event));
  }

  private released(): void {
    const { drag } = this;
    this.drag = undefined;
    if (drag) this.dragged(drag);
  }

  private left(): void {
    if (this.drag) return;
    this.cursor = undefined;
    this.shell.tooltip.hide();
    this.shell.redraw();
  }
}
