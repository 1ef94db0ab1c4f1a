// What a person types to find functions.

export interface Query {
  test: (name: string) => boolean;
  /** Why it is no expression; then nothing matches. */
  error?: string;
}

/** Text in any case of letters, or /expression/ with i behind it for any case; null: nothing was asked. As in Python. */
export function query(text: string): Query | null {
  if (text === "") return null;
  const found = /^\/(.*)\/(i?)$/s.exec(text);
  if (!found) {
    const wanted = text.toLowerCase();
    return { test: (name) => name.toLowerCase().includes(wanted) };
  }
  try {
    const expression = new RegExp(found[1]!, found[2]);
    return { test: (name) => expression.test(name) };
  } catch (error) {
    return { test: () => false, error: error instanceof Error ? error.message : String(error) };
  }
}

export function hitsOf(labels: readonly string[], wanted: Query): Uint8Array {
  return Uint8Array.from(labels, (name) => Number(wanted.test(name)));
}
