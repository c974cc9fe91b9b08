/** Turns a change event into the operation that it asks for on one document of the destination. */

import { type DocumentKey, documentKey } from '../bson/document-key.js';
import { hasKey, type KeyPaths } from '../bson/key-query.js';
import { deltaTouches, topLevelNames } from '../bson/update-delta.js';
import type { ChangeEvent } from '../documents/change-event.js';
import type { DocumentFilter } from '../documents/document-filter.js';
import { AppError } from '../errors.js';
import type { MigratedCollection } from '../metadata/collections.js';

/** What of a collection an operation needs. */
export type AppliedCollection = Pick<
  MigratedCollection,
  'id' | 'ns' | 'sourceNs' | 'name' | 'destinationUuid' | 'capped' | 'collated' | 'keyPaths'
>;

/** What is to be done to one document of the destination. Crosses to a thread as part of an OperationBatch. */
export interface Operation {
  readonly collection: AppliedCollection;
  /**
   * - put: the document as a whole (insert); - replace: likewise, of a replace event; - delta: the server's own delta;
   * - delete; - refetch: as the document is on the source now, since the event does not say.
   */
  readonly kind: 'put' | 'replace' | 'delta' | 'delete' | 'refetch';
  /** `{_id: …}` raw. */
  readonly id: Buffer;
  /** The event's whole document key, raw: with the fields of the source's shard key before the `_id`. */
  readonly wholeKey: Buffer;
  readonly key: DocumentKey;
  /** The document of put and replace, or the delta. */
  readonly content: Buffer | undefined;
  /** Of a delta: the ones that follow it on the same document, sent with it as further stages. */
  readonly further?: readonly Buffer[];
}

/**
 * The operation of an insert, update, replace or delete event. With a filter: what may change membership is refetched.
 * Errors: Internal when the event has no document key.
 */
export function operationOf(event: ChangeEvent, collection: AppliedCollection, filter?: DocumentFilter): Operation {
  const { key, id } = event;
  if (key === undefined || id === undefined)
    throw new AppError('Internal', `a ${event.operation} event without documentKey was read`);
  const kind = kindOf(event, collection, filter);
  const content = kind === 'delta' ? event.delta : kind === 'put' || kind === 'replace' ? event.document : undefined;
  return { collection, kind, id, wholeKey: key, key: documentKey(key), content };
}

function kindOf(
  event: ChangeEvent,
  { keyPaths }: AppliedCollection,
  filter: DocumentFilter | undefined,
): Operation['kind'] {
  if (event.operation === 'delete') return 'delete';
  if (event.operation === 'update')
    return event.delta === undefined || filter?.isTouchedBy(event.delta) === true || movesBy(event.delta, keyPaths)
      ? 'refetch'
      : 'delta';
  if (event.document === undefined) return 'refetch';
  if (event.operation === 'insert') return 'put';
  // Whether the new document is within the filter is the source's to say; inserts outside it are not read at all.
  return filter !== undefined || mayMove(event, event.document, keyPaths) ? 'refetch' : 'replace';
}

/**
 * Whether an update may give a document another place on a sharded destination: the server does that for one document in
 * a command of its own only (WouldChangeOwningShard). Source: MongoDB manual, "Change a Document's Shard Key Value".
 */
function movesBy(delta: Buffer, { destination }: KeyPaths): boolean {
  return destination.length > 0 && deltaTouches(delta, topLevelNames(destination));
}

/** As above, for a whole document: its old place is known where both sides are sharded by the same key. */
function mayMove({ key }: ChangeEvent, document: Buffer, { source, destination }: KeyPaths): boolean {
  if (destination.every((path) => path === '_id')) return false;
  const isSameKey = source.length === destination.length && source.every((path, index) => path === destination[index]);
  return key === undefined || !isSameKey || !hasKey(document, key, destination);
}

/** Whether the operations of a collection on this key must be sent one after the other, in stream order. */
export function isSequential(operation: Operation): boolean {
  return operation.collection.capped || (operation.collection.collated && operation.key.holdsText);
}

/** The text that decides the lane: what must stay in order shares it. */
export function laneText(operation: Operation): string {
  return isSequential(operation) ? operation.collection.id : operation.collection.id + operation.key.text;
}
