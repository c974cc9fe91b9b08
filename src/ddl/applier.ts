/** Carries out each DDL event exactly once, also across a crash. */

import { type ChangeEvent, namespaceOf, parseEvent, positionOf } from '../documents/change-event.js';
import { traced } from '../lib/trace.js';
import type { MigratedCollection } from '../metadata/collections.js';
import type { DdlRecord } from '../metadata/records.js';
import type { DdlContext } from './context.js';
import { dropTargetOf, isOfView, sameDatabase, targetOf } from './event.js';
import { movedFrom } from './moved-primary.js';
import { carryOut } from './operations.js';

/** Events of renames and drops, the ones that must be completed first, are far smaller. */
const MAX_STORED_EVENT_BYTES = 4 * 1024 * 1024;

/**
 * Carries out DDL events on the destination, each exactly once. Replaying `rename A→B, create A` over its own result
 * would destroy B, so an intent is stored before an event and a done mark after it: on replay, done events are skipped
 * and the one in between is completed by comparing UUIDs. Call in stream order, with the touched collections drained.
 * Source: docs/04-apply.md.
 */
export class DdlApplier {
  readonly #context: DdlContext;
  #record: DdlRecord = { done: undefined, intent: undefined };

  constructor(context: DdlContext) {
    this.#context = context;
  }

  /**
   * Reads what an earlier run stored, and completes the event it was carrying out: until then the map may name what
   * the destination no longer has, and the events that are replayed before it would not find their collections.
   */
  async load(signal: AbortSignal): Promise<void> {
    this.#record = await this.#context.store.loadDdl(signal);
    const { intent } = this.#record;
    if (intent?.event === undefined) return;
    this.#context.logger.info('Completing the DDL event that an earlier run had begun');
    await carryOut(this.#context, parseEvent(intent.event), { isReplay: true }, signal);
    await this.#store({ done: intent.position, intent: undefined }, signal);
  }

  /** The live collections whose queued events must be applied before this event is. */
  touched(event: ChangeEvent): MigratedCollection[] {
    const { collections } = this.#context;
    if (event.operation === 'dropDatabase')
      return collections.live().filter((each) => sameDatabase(each.sourceNs, event.db));
    if (event.operation === 'createIndexes' || event.operation === 'dropIndexes') return [];
    const ids = [event.collection, dropTargetOf(event), movedFrom(this.#context, event)?.id];
    return ids
      .map((id) => (id === undefined ? undefined : collections.get(id)))
      .filter((each): each is MigratedCollection => each !== undefined);
  }

  /** Whether an event is about anything that is migrated: a rename by either of its names. */
  async concerns(event: ChangeEvent, signal: AbortSignal): Promise<boolean> {
    const { collections, scope } = this.#context;
    if (event.collection !== undefined && collections.get(event.collection) !== undefined) return true;
    // Its collections are gone by events of their own before it, and the database itself is to go.
    if (event.operation === 'dropDatabase') return (await scope.databases([event.db], signal)).length > 0;
    if (await scope.follows(namespaceOf(event), signal)) return true;
    return event.operation === 'rename' && (await scope.follows(targetOf(event), signal));
  }

  /** As `concerns`, for an event after the commit time: what happens to views that are not migrated, or to a database that has nothing, changes nothing. */
  async wouldBeMissed(event: ChangeEvent, signal: AbortSignal): Promise<boolean> {
    const { collections, scope } = this.#context;
    if (event.operation === 'dropDatabase')
      return [...collections.live(), ...collections.views()].some((each) => sameDatabase(each.sourceNs, event.db));
    return !(isOfView(event) && !scope.migratesViews) && (await this.concerns(event, signal));
  }

  /** Returns whether the event was carried out now (false: done before, or not ours). */
  async apply(event: ChangeEvent, signal: AbortSignal): Promise<boolean> {
    if (!(await this.concerns(event, signal))) return false;
    const position = positionOf(event);
    const { done, intent } = this.#record;
    if (done !== undefined && position.isAtOrBefore(done)) return false;
    const isReplay = position.equals(intent?.position);
    const stored = event.raw.length <= MAX_STORED_EVENT_BYTES ? event.raw : undefined;
    if (!isReplay) await this.#store({ done, intent: { position, event: stored } }, signal);
    await traced('apply DDL', { operation: event.operation }, () =>
      carryOut(this.#context, event, { isReplay }, signal),
    );
    await this.#store({ done: position, intent: undefined }, signal);
    this.#context.logger.debug(`Applied ${event.operation} of ${event.db}.${event.coll}`);
    return true;
  }

  async #store(record: DdlRecord, signal: AbortSignal): Promise<void> {
    await this.#context.store.saveDdl(record, signal);
    this.#record = record;
  }
}
