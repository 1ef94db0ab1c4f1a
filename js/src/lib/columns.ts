// Columns as Python packs them (bpfnb/views/wire.py): typed arrays laid over the received buffers.

export type Numbers =
  | Uint8Array
  | Uint16Array
  | Uint32Array
  | Int8Array
  | Int16Array
  | Int32Array
  | Float32Array
  | Float64Array;

/** 64-bit integers: exact, as BigInt. */
export type Integers = BigUint64Array | BigInt64Array;

/** Text, decoded when it is asked for. */
export class Text {
  constructor(
    private readonly offsets: Uint32Array,
    private readonly bytes: Uint8Array,
  ) {}
  get length(): number {
    return Math.max(0, this.offsets.length - 1);
  }
  at(index: number): string {
    return decoder.decode(this.bytes.subarray(this.offsets[index] ?? 0, this.offsets[index + 1] ?? 0));
  }
  toArray(): string[] {
    return Array.from({ length: this.length }, (_, i) => this.at(i));
  }
}

/** Text that repeats: a label for each code; -1 is a missing value. */
export class Dict {
  constructor(
    readonly codes: Int32Array,
    readonly labels: string[],
  ) {}
  get length(): number {
    return this.codes.length;
  }
  at(index: number): string {
    return this.labels[this.codes[index] ?? -1] ?? "";
  }
}

export type Column = Numbers | Integers | Text | Dict;

export interface ColumnHeader {
  name: string;
  type: string;
  length: number;
  shape?: number[];
}

const decoder = new TextDecoder();
const ARRAYS = {
  u1: Uint8Array,
  u2: Uint16Array,
  u4: Uint32Array,
  u8: BigUint64Array,
  i1: Int8Array,
  i2: Int16Array,
  i4: Int32Array,
  i8: BigInt64Array,
  f4: Float32Array,
  f8: Float64Array,
} as const;

type Buffer = DataView | ArrayBuffer | Uint8Array;

export function unpack(headers: ColumnHeader[], buffers: Buffer[]): Record<string, Column> {
  const columns: Record<string, Column> = {};
  let next = 0;
  const take = <K extends keyof typeof ARRAYS>(type: K) => view(type, buffers[next++]);
  const text = () => new Text(take("u4") as Uint32Array, take("u1") as Uint8Array);
  for (const { name, type } of headers) {
    if (type === "text") columns[name] = text();
    else if (type === "dict") columns[name] = new Dict(take("i4") as Int32Array, text().toArray());
    else columns[name] = take(type as keyof typeof ARRAYS);
  }
  return columns;
}

function view(type: keyof typeof ARRAYS, buffer: Buffer | undefined): Numbers | Integers {
  const ArrayType = ARRAYS[type];
  if (!buffer) return new ArrayType(0);
  const whole = ArrayBuffer.isView(buffer) ? (buffer.buffer as ArrayBuffer) : buffer;
  const start = ArrayBuffer.isView(buffer) ? buffer.byteOffset : 0;
  const size = buffer.byteLength;
  const length = size / ArrayType.BYTES_PER_ELEMENT;
  if (start % ArrayType.BYTES_PER_ELEMENT === 0) return new ArrayType(whole, start, length);
  return new ArrayType(whole.slice(start, start + size), 0, length);
}
