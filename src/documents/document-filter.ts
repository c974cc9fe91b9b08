/** Turns `documentFilter` into queries of the server. */
import { type Doc, extendedValue, type OrderedDoc } from '../bson/bson.js';
import { rawName } from '../bson/raw-document.js';
import { deltaTouches } from '../bson/update-delta.js';
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
  readonly #names: ReadonlySet<string>;
  readonly #values: readonly unknown[];

  constructor(spec: DocumentFilterSpec) {
    this.spec = spec;
    this.#field = spec.field;
    this.#names = new Set([rawName(spec.field)]);
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

  /** Whether a raw update delta may change the field. */
  isTouchedBy(delta: Buffer): boolean {
    return deltaTouches(delta, this.#names);
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
