/** Finds the collection of the destination that a document change goes to. */
import { uuidFrom } from '../bson/uuid.js';
import { findByUuid } from '../catalog/catalog.js';
import { type Namespace, nsText, sameNs } from '../catalog/namespace.js';
import { catalogChanged } from '../catalog/old-source.js';
import type { Scope } from '../catalog/scope.js';
import type { Cluster } from '../cluster/cluster.js';
import { type ChangeEvent, namespaceOf } from '../documents/change-event.js';
import { AppError } from '../errors.js';
import { shardingChanged } from '../layout/source-sharding.js';
import type { CollectionMap, MigratedCollection } from '../metadata/collections.js';

/** What finding targets works with. */
interface TargetContext {
  readonly source: Cluster;
  readonly scope: Scope;
  readonly collections: CollectionMap;
}

/**
 * Finds the collections that document changes go to. One that the map does not know must be gone from the source, or
 * outside the filter: whatever else came into being was told by its catalog or by a DDL event.
 */
export class EventTargets {
  /** For sources before 6.0, whose events hold no UUID. */
  readonly idOf: ((ns: Namespace) => string | undefined) | undefined;
  readonly #context: TargetContext;
  readonly #unknown = new Set<string>();

  constructor(context: TargetContext) {
    this.#context = context;
    this.idOf = context.source.isAtLeast(6) ? undefined : namesOnSource(context.collections);
  }

  /** The target of a document change; undefined when it is not ours to apply. Errors: UnsupportedChange; ShardingChanged; Internal for an event without a UUID. */
  async of(event: ChangeEvent, signal: AbortSignal): Promise<MigratedCollection | undefined> {
    if (event.collection === undefined && this.idOf !== undefined) {
      if (!(await this.#context.scope.follows(namespaceOf(event), signal))) return undefined;
      throw catalogChanged(`creation of ${event.db}.${event.coll}`);
    }
    if (event.collection === undefined)
      throw new AppError('Internal', `a ${event.operation} event without collection UUID was read`);
    const collection = this.#context.collections.get(event.collection);
    if (collection !== undefined) return collection.dropped ? undefined : collection;
    if (this.#unknown.has(event.collection)) return undefined;
    if (await this.#context.scope.follows(namespaceOf(event), signal))
      await this.#requireGone(event, event.collection, signal);
    this.#unknown.add(event.collection);
    return undefined;
  }

  /** Neither the catalog nor a DDL event told of it: an earlier incarnation, unless it lives on the source now. */
  async #requireGone(event: ChangeEvent, id: string, signal: AbortSignal): Promise<void> {
    const ns = namespaceOf(event);
    const found = await findByUuid(this.#context.source, uuidFrom(Buffer.from(id, 'hex')), ns.db, signal);
    if (found === undefined) return;
    const known = this.#context.collections.live().some((each) => sameNs(each.sourceNs, found));
    // A drop and a creation would have told; a reshard takes the name without.
    if (known && this.#context.source.isSharded)
      throw shardingChanged([`${nsText(found)} was given another UUID, as reshardCollection does it`]);
    throw new AppError(
      'UnsupportedChange',
      `${nsText(found)} appeared on the source without a change event, so its documents cannot be followed`,
    );
  }
}

/** Collections by name: on a source before 6.0 they do not change while a migration goes on. */
function namesOnSource(collections: CollectionMap): (ns: Namespace) => string | undefined {
  const ids = new Map(collections.live().map((each) => [nsText(each.sourceNs), each.id]));
  return (ns) => ids.get(nsText(ns));
}
