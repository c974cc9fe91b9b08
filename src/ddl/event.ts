/** Reads what the engine needs from a DDL event. */
import { Binary, canonicalText, decodeOrdered, type OrderedDoc } from '../bson/bson.js';
import { findField } from '../bson/raw-document.js';
import { uuidText } from '../bson/uuid.js';
import type { Namespace } from '../catalog/namespace.js';
import type { ChangeEvent } from '../documents/change-event.js';
import { AppError } from '../errors.js';

/** An event of a collection: of views and whole databases they have no UUID. */
export type CollectionEvent = ChangeEvent & { readonly collection: string };

export function isOfCollection(event: ChangeEvent): event is CollectionEvent {
  return event.collection !== undefined;
}

/** Of views they have no collection's UUID. */
const VIEW_EVENTS = new Set(['create', 'modify', 'drop']);

/** Whether an event is about a view. */
export function isOfView(event: ChangeEvent): boolean {
  return event.collection === undefined && VIEW_EVENTS.has(event.operation) && !isTimeSeries(event);
}

/** A time-series collection shows as the view on its buckets. */
export function isTimeSeries(event: ChangeEvent): boolean {
  return canonicalText(descriptionOf(event)).includes('$_internalUnpackBucket');
}

/** What was done, as the source says it. */
export function descriptionOf(event: ChangeEvent): OrderedDoc {
  return fieldOf(event, 'operationDescription') ?? new Map();
}

function fieldOf(event: ChangeEvent, name: string): OrderedDoc | undefined {
  const field = findField(event.raw, name);
  return field === undefined ? undefined : decodeOrdered(event.raw.subarray(field.start, field.end));
}

/** The new name of a rename. Errors: Internal. */
export function targetOf(event: ChangeEvent): Namespace {
  // Before 6.0 it stands beside the namespace.
  const to = descriptionOf(event).get('to') ?? fieldOf(event, 'to');
  if (!(to instanceof Map)) throw new AppError('Internal', 'a rename event without a target was read');
  return { db: String(to.get('db')), coll: String(to.get('coll')) };
}

/** The collection that a rename replaces. */
export function dropTargetOf(event: ChangeEvent): string | undefined {
  if (event.operation !== 'rename') return undefined;
  const uuid = descriptionOf(event).get('dropTarget');
  return uuid instanceof Binary ? uuidText(uuid) : undefined;
}

/** Names of databases may not differ only in case, so they compare without it. */
export function sameDatabase(ns: Namespace, db: string): boolean {
  return ns.db.toLowerCase() === db.toLowerCase();
}
