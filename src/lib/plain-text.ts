/** Writes plain data as text and reads it again: what JSON holds, and bytes, dates and maps besides. */

const BYTES = '~bytes';
const DATE = '~date';
const MAP = '~map';

/** The text of plain data. A property that is undefined is left out. */
export function plainText(value: unknown): string {
  return JSON.stringify(toJson(value));
}

/** The data of such a text. What it is, is for the caller to know: it wrote it. Errors: SyntaxError. */
export function fromPlainText<T>(text: string): T {
  return fromJson(JSON.parse(text) as unknown) as T;
}

function toJson(value: unknown): unknown {
  if (value instanceof Uint8Array) return { [BYTES]: Buffer.from(value).toString('base64') };
  if (value instanceof Date) return { [DATE]: value.getTime() };
  if (value instanceof Map) return { [MAP]: [...value].map(toJson) };
  if (Array.isArray(value)) return value.map(toJson);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, toJson(each)]));
}

function fromJson(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(fromJson);
  if (typeof value !== 'object' || value === null) return value;
  const fields = value as Record<string, unknown>;
  // Not a Buffer: a view of the pool would look at more memory than its own.
  if (BYTES in fields) return Uint8Array.from(Buffer.from(String(fields[BYTES]), 'base64'));
  if (DATE in fields) return new Date(Number(fields[DATE]));
  if (MAP in fields) return new Map(fromJson(fields[MAP]) as [unknown, unknown][]);
  return Object.fromEntries(Object.entries(fields).map(([name, each]) => [name, fromJson(each)]));
}
