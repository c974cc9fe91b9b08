/** Makes random values, and `_id`s that meet each other again. */
import { Binary, Decimal128, type Document, Double, Int32, Long, MaxKey, MinKey, ObjectId, Timestamp } from 'mongodb';
import type { Random } from './workload-random.js';

/** Top-level names that random documents use; `0` moves to the front in plain objects, so documents are Maps. */
export const FIELDS = ['a', 'b', 'c', 's', 'n', '0', '12', 'sub', 'list', 'at', '__proto__'] as const;

/** How many different `_id`s each collection has at most. */
export const IDS = 240;

const FAR_MS = Date.UTC(2095, 0, 1);

/** The `_id` number `n`; which type it has follows from `n`, so that later operations meet the same document. */
export function idOf(n: number): unknown {
  switch (n % 10) {
    case 5:
      return new Double(n + 0.5);
    case 6:
      return `id ${n}`;
    case 7:
      return new ObjectId(n.toString(16).padStart(24, '0'));
    case 8:
      return new Map<string, unknown>([
        ['b', n],
        ['0', new Long(1)],
      ]);
    case 9:
      // Far away too: in a clustered collection the _id may be what expires.
      return n % 20 === 9 ? new Date(FAR_MS + n) : new Binary(Buffer.from([n & 255, 1]));
    default:
      return numeric(n, n % 4);
  }
}

/** The same number as four types; all are one `_id` to the server, with different bytes. */
export function numeric(n: number, type: number): Int32 | Long | Double | Decimal128 {
  if (type % 4 === 0) return new Int32(n);
  if (type % 4 === 1) return Long.fromInt(n);
  if (type % 4 === 2) return new Double(n);
  return new Decimal128(`${n}`);
}

/** A value of any type, containers not deeper than `depth`. */
export function randomValue(random: Random, depth = 2): unknown {
  const kind = random.int(depth > 0 ? 18 : 14);
  const n = random.int(1000) - 200;
  if (kind < 4) return numeric(n, kind);
  if (kind < 7) return randomText(random);
  if (kind >= 16) return Array.from({ length: random.int(6) }, () => randomValue(random, depth - 1));
  if (kind >= 14) return randomFields(random, depth - 1, random.int(5));
  return randomScalar(random, kind, n);
}

function randomScalar(random: Random, kind: number, n: number): unknown {
  switch (kind) {
    case 7:
      return random.pick([new Double(-0), new Double(Number.NaN), new Double(Number.POSITIVE_INFINITY), new Double(0)]);
    case 8:
      return null;
    case 9:
      return random.chance(0.5);
    case 10:
      return new Date(FAR_MS + n * 1000);
    case 11:
      return new Binary(Buffer.alloc(random.int(40), n & 255));
    case 12:
      return random.pick([new MinKey(), new MaxKey(), new Decimal128('NaN'), Long.MAX_VALUE, /x.*y/i]);
    default:
      return new Timestamp({ t: random.int(5), i: random.int(3) });
  }
}

/** A text, now and then a long one. */
export function randomText(random: Random): string {
  const word = random.pick(['apfel', 'Ähre', 'boot', 'Citrus', 'dünn', 'eis', 'x y', '']);
  return random.chance(0.05) ? `${word} `.repeat(200) : `${word}${random.int(30)}`;
}

function randomFields(random: Random, depth: number, count: number): Map<string, unknown> {
  const fields = new Map<string, unknown>();
  for (let index = 0; index < count; index++) {
    const name = random.chance(0.1) ? random.pick(['x.y', 'd$', 'ключ', '7']) : random.pick(FIELDS);
    fields.set(name, name === 'at' ? new Date(FAR_MS + random.int(10_000)) : randomValue(random, depth));
  }
  return fields;
}

/** A whole document with that `_id`. Dates in `at` are decades away, so that no TTL index deletes anything. */
export function randomDocument(random: Random, id: unknown): Document {
  const doc = randomFields(random, 2, 2 + random.int(8));
  // A date anywhere else would be one more thing for a TTL index to find.
  if (random.chance(0.3)) doc.set('at', new Date(FAR_MS + random.int(10_000)));
  if (random.chance(0.2)) doc.set('geo', { type: 'Point', coordinates: [random.int(180), random.int(90)] });
  if (random.chance(0.6))
    doc.set(
      'list',
      Array.from({ length: random.int(12) }, () => random.int(9)),
    );
  return new Map<string, unknown>([['_id', id], ...doc]) as unknown as Document;
}
