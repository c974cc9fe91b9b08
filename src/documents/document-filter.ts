/** Turns `documentFilter` into queries of the server. */
import { type Doc, extendedValue, type OrderedDoc } from '../bson/bson.js';
import { findField, forEachField } from '../bson/raw-document.js';
import { isCollated } from '../catalog/collection-spec.js';
import { type Namespace, nsText } from '../catalog/namespace.js';
import { AppError } from '../errors.js';

/** `documentFilter` as `start` takes it; the values are Extended JSON. */
export interface DocumentFilterSpec {
  readonly field: string;
  readonly matchValues: readonly unknown[];
}

/**
 * Which documents are migrated: those whose top-level field equals one of some values. Equality is always the server's
 * (numbers across types, arrays by their elements), so this makes queries and never compares by itself.
 */
export class DocumentFilter {
  /** Whether a value is a text, whose equality a collation would change. */
  readonly holdsText: boolean;
  /** As it was given. */
  readonly spec: DocumentFilterSpec;
  readonly #field: string;
  readonly #fieldBytes: Buffer;
  readonly #fieldLatin1: string;
  readonly #values: readonly unknown[];

  constructor(spec: DocumentFilterSpec) {
    this.spec = spec;
    this.#field = spec.field;
    this.#fieldBytes = Buffer.from(spec.field);
    this.#fieldLatin1 = this.#fieldBytes.toString('latin1');
    this.#values = spec.matchValues.map(extendedValue);
    this.holdsText = this.#values.some((value) => typeof value === 'string');
  }

  /** The filter of a find, with further conditions. */
  query(more?: OrderedDoc): OrderedDoc {
    const own: OrderedDoc = new Map([[this.#field, { $in: this.#values }]]);
    return more === undefined ? own : new Map([['$and', [own, more]]]);
  }

  /** A stage of a change stream's pipeline that leaves out inserts of other documents. */
  streamStage(): Doc {
    const inserted = new Map([[`fullDocument.${this.#field}`, { $in: this.#values }]]);
    return { $match: { $or: [{ operationType: { $ne: 'insert' } }, inserted] } };
  }

  /**
   * Whether a raw update delta (`{$v: 2, diff: …}`) may change the field. The diff's parts: `u`, `i` and `d` hold
   * fields set, inserted and deleted, `s<field>` is a diff below a field; whatever else there is counts as a change.
   */
  isTouchedBy(delta: Buffer): boolean {
    // A native search first: most deltas do not hold the name at all.
    if (delta.indexOf(this.#fieldBytes) < 0) return !hasOnlyKnownParts(delta);
    let touched = false;
    const known = forEachPart(delta, (part, content) => {
      if (part.startsWith('s')) touched ||= part.slice(1) === this.#fieldLatin1;
      else
        forEachField(content, (name) => {
          touched ||= name === this.#fieldLatin1;
          return !touched;
        });
    });
    return touched || !known;
  }
}

/**
 * Errors: UnsupportedChange when the collection compares texts by a collation, which would decide on them in place of
 * plain equality.
 */
export function refuseCollated(filter: DocumentFilter | undefined, ns: Namespace, options: OrderedDoc): void {
  if (filter?.holdsText !== true || !isCollated(options)) return;
  throw new AppError(
    'UnsupportedChange',
    `${nsText(ns)} has a collation, which documentFilter with string values does not permit`,
  );
}

const WHOLE_FIELDS = new Set(['u', 'i', 'd']);

function hasOnlyKnownParts(delta: Buffer): boolean {
  return forEachPart(delta, () => undefined);
}

/** False when the delta has a part of another kind than is known here. */
function forEachPart(delta: Buffer, visit: (part: string, content: Buffer) => void): boolean {
  const diff = findField(delta, 'diff');
  if (diff === undefined) return false;
  const content = delta.subarray(diff.start, diff.end);
  let known = true;
  forEachField(content, (part, field) => {
    known &&= WHOLE_FIELDS.has(part) || part.startsWith('s');
    if (known) visit(part, content.subarray(field.start, field.end));
    return known;
  });
  return known;
}
