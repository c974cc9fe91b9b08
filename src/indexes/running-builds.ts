/** Finds and ends index builds that go on at the destination. */
import { listIndexesAndBuilds } from '../catalog/catalog.js';
import { indexName } from '../catalog/index-spec.js';
import { nsText } from '../catalog/namespace.js';
import { codeOf, isTransient } from '../cluster/errors.js';
import { sleep } from '../lib/signals.js';
import type { MigratedCollection } from '../metadata/collections.js';
import type { IndexContext } from './context.js';

const AGAIN_MS = 50;

/**
 * Builds that go on at the destination: this process's own, and those of an earlier one, which the server does not stop
 * when its client is gone. A build is ended by dropping all of its indexes by name: one of several cannot be dropped
 * (code 27).
 */
export class RunningBuilds {
  readonly #context: Pick<IndexContext, 'destination' | 'logger'>;
  readonly #building = new Map<
    string,
    { readonly collection: MigratedCollection; readonly names: readonly string[] }
  >();
  /** Collections on which nothing is being built that this process did not begin or was told the end of. */
  readonly #ours = new Set<string>();

  constructor(context: Pick<IndexContext, 'destination' | 'logger'>) {
    this.#context = context;
  }

  /** Names of what this process is building for a collection. */
  namesOf(id: string): readonly string[] {
    return this.#building.get(id)?.names ?? [];
  }

  /** Runs a build of these indexes; one whose answer is not waited for may go on. */
  async run(collection: MigratedCollection, names: readonly string[], build: () => Promise<unknown>): Promise<void> {
    this.#building.set(collection.id, { collection, names });
    this.#ours.delete(collection.id);
    try {
      await build();
      this.#ours.add(collection.id);
    } finally {
      this.#building.delete(collection.id);
    }
  }

  /** Ends this process's build of a collection, if there is one. */
  async end(id: string, signal: AbortSignal): Promise<void> {
    const running = this.#building.get(id);
    if (running === undefined) return;
    const { collection, names } = running;
    await this.endNamed(collection, names, signal);
  }

  /**
   * Ends builds whose process has ended, or whose answer was lost, and waits until they are gone: one that is about to
   * finish takes no end. `onFound` is called before each is ended.
   */
  async endOthers(collection: MigratedCollection, onFound: () => void, signal: AbortSignal): Promise<void> {
    const { id, ns } = collection;
    if (this.#ours.has(id)) return;
    for (let tries = 0; ; tries++) {
      const { builds } = await listIndexesAndBuilds(this.#context.destination, ns, signal);
      if (builds.length === 0) break;
      if (tries > 0) await sleep(AGAIN_MS, signal);
      for (const names of builds.map((specs) => specs.map(indexName))) {
        if (tries === 0)
          this.#context.logger.info(`Ending a build of ${nsText(ns)} that an earlier try has begun`, { names });
        onFound();
        await this.endNamed(collection, names, signal);
      }
    }
    if (!this.#building.has(id)) this.#ours.add(id);
  }

  /** Ends the build of these indexes; one that is about to finish takes no end. */
  async endNamed(
    { ns, destinationUuid }: MigratedCollection,
    names: readonly string[],
    signal: AbortSignal,
  ): Promise<void> {
    const { destination } = this.#context;
    const command = { dropIndexes: ns.coll, index: names, collectionUUID: destinationUuid };
    await destination.attempt(`ending an index build of ${nsText(ns)}`, signal, async () => {
      try {
        await destination.write(ns.db, command, { signal });
      } catch (error) {
        // Not begun yet, or finished or dropped in the same moment: whoever holds it looks again.
        if (codeOf(error) === undefined || isTransient(error)) throw error;
      }
    });
  }
}
