/** Applies the server's own update deltas to raw documents. Source: the server's document_diff_applier.cpp. */
import { documentFrom, type Field, fieldOf, fieldsOf, Type } from './raw.js';

/** `diff`: the content of `{$v: 2, diff: …}`. A delta of another state is applied as far as it goes. */
export function applyDelta(doc: Buffer, diff: Buffer): Buffer {
  return documentFrom(applyToObject(doc, diff));
}

interface ObjectChanges {
  readonly changed: ReadonlyMap<string, Field | 'deleted' | 'moved' | { readonly diff: Buffer }>;
  /** What comes at the end, if it has not found its place before. */
  readonly further: readonly Field[];
}

function applyToObject(doc: Buffer, diff: Buffer): Field[] {
  const { changed, further } = changesOf(diff);
  const placed = new Set<string>();
  const result: Field[] = [];
  for (const field of fieldsOf(doc)) {
    const change = changed.get(field.name);
    if (change === 'deleted' || change === 'moved') continue;
    if (change === undefined) result.push(field);
    else if ('diff' in change) result.push(applyInside(field, change.diff));
    else {
      result.push({ ...change, name: field.name });
      placed.add(field.name);
    }
  }
  return [...result, ...further.filter(({ name }) => !placed.has(name))];
}

function changesOf(diff: Buffer): ObjectChanges {
  const changed = new Map<string, Field | 'deleted' | 'moved' | { readonly diff: Buffer }>();
  const further: Field[] = [];
  for (const part of fieldsOf(diff)) {
    if (part.name === 'd') for (const { name } of fieldsOf(part.value)) changed.set(name, 'deleted');
    else if (part.name === 'u' || part.name === 'i') {
      for (const field of fieldsOf(part.value)) {
        changed.set(field.name, part.name === 'u' ? field : 'moved');
        further.push(field);
      }
    } else if (part.name.startsWith('s')) changed.set(part.name.slice(1), { diff: part.value });
    else throw new RangeError(`a delta's part ${part.name} is not known`);
  }
  return { changed, further };
}

/** A part that does not fit what is there changes nothing. */
function applyInside(field: Field, diff: Buffer): Field {
  const isArrayDiff = fieldOf(diff, 'a') !== undefined;
  if (isArrayDiff) return field.type === Type.array ? { ...field, value: applyToArray(field.value, diff) } : field;
  return field.type === Type.document ? { ...field, value: documentFrom(applyToObject(field.value, diff)) } : field;
}

function applyToArray(array: Buffer, diff: Buffer): Buffer {
  const items: (Field | undefined)[] = fieldsOf(array);
  for (const part of fieldsOf(diff)) {
    if (part.name === 'a') continue;
    if (part.name === 'l') items.length = Math.min(items.length, part.value.readInt32LE(0));
    else {
      const index = Number(part.name.slice(1));
      const before = items[index];
      if (part.name.startsWith('u')) items[index] = { ...part, name: String(index) };
      else if (before !== undefined) items[index] = applyInside(before, part.value);
    }
  }
  const filled = Array.from(items, (each, index) => ({
    ...(each ?? { type: Type.null, value: Buffer.alloc(0) }),
    name: String(index),
  }));
  return documentFrom(filled);
}
