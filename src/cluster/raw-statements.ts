import { documentOf } from './raw-document.js';

/**
 * Statements of update and delete commands, built around raw documents so that nothing carried is decoded. `key` is
 * always a raw `{_id: …}` document, as a change event's documentKey or `idDocument` gives it.
 */

const TRUE = Buffer.from([1]);
const ONE = Buffer.from([1, 0, 0, 0]);
const TYPE = { document: 3, array: 4, boolean: 8, int: 16 } as const;

/** The document takes the place of the one with that key, or is inserted. */
export function replaceStatement(key: Buffer, doc: Buffer): Buffer {
  return concatFields(
    field('q', TYPE.document, key),
    field('u', TYPE.document, doc),
    field('upsert', TYPE.boolean, TRUE),
  );
}

/**
 * As `replaceStatement`, by a pipeline: keeps what a plain replacement would change or refuse, i.e. empty timestamps,
 * names that begin with `$` and names that occur twice. Several times slower.
 */
export function literalReplaceStatement(key: Buffer, doc: Buffer): Buffer {
  const stage = documentOf('$replaceWith', TYPE.document, documentOf('$literal', TYPE.document, doc));
  return concatFields(
    field('q', TYPE.document, key),
    field('u', TYPE.array, documentOf('0', TYPE.document, stage)),
    field('upsert', TYPE.boolean, TRUE),
  );
}

/**
 * Applies the server's own deltas (`{$v: 2, diff: …}` of `rawUpdateDescription`), one after the other, to the document
 * of that key, if it is there: never upserted, which would make a partial document. Source: SERVER-61894;
 * docs/04-apply.md.
 */
export function deltaStatement(key: Buffer, deltas: readonly Buffer[]): Buffer {
  const stages = deltas.map((delta, index) => {
    const update = documentOf('oplogUpdate', TYPE.document, delta);
    return field(String(index), TYPE.document, documentOf('$_internalApplyOplogUpdate', TYPE.document, update));
  });
  return concatFields(field('q', TYPE.document, key), field('u', TYPE.array, concatFields(...stages)));
}

/** Deletes the document of that key. */
export function deleteStatement(key: Buffer): Buffer {
  return concatFields(field('q', TYPE.document, key), field('limit', TYPE.int, ONE));
}

/** A document without its length and terminator, i.e. its fields only. */
function field(name: string, type: number, value: Buffer): Buffer {
  const head = Buffer.allocUnsafe(2 + name.length + value.length);
  head[0] = type;
  head.write(name, 1, 'latin1');
  head[1 + name.length] = 0;
  head.set(value, 2 + name.length);
  return head;
}

function concatFields(...fields: Buffer[]): Buffer {
  const length = fields.reduce((sum, each) => sum + each.length, 5);
  const doc = Buffer.allocUnsafe(length);
  doc.writeInt32LE(length, 0);
  let offset = 4;
  for (const each of fields) {
    doc.set(each, offset);
    offset += each.length;
  }
  doc[offset] = 0;
  return doc;
}
