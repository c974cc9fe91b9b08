/** Reads the documents of a metadata database as a majority has them. Knows of no record's form. */
import type { Doc } from '../bson/bson.js';
import type { Cluster } from '../cluster/cluster.js';

export const IDS_PER_COMMAND = 10_000;

/** The documents of one metadata database. */
export class MetadataDocuments {
  readonly db: string;
  readonly #cluster: Cluster;

  constructor(cluster: Cluster, db: string) {
    this.#cluster = cluster;
    this.db = db;
  }

  /** The collections there are. */
  async collectionNames(signal: AbortSignal): Promise<Set<string>> {
    const reply = await this.#cluster.read('reading metadata', this.db, { listCollections: 1, nameOnly: true }, signal);
    return new Set((reply['cursor'] as { firstBatch: { name: string }[] }).firstBatch.map((each) => each.name));
  }

  /** Documents of a collection, read from a majority. */
  async find(coll: string, filter: Doc, signal: AbortSignal, more: Doc = {}): Promise<Doc[]> {
    return this.#cluster.attempt('reading metadata', signal, async () => {
      const session = this.#cluster.startSession();
      try {
        // Not older than what this process has seen, also right after an election.
        const { now } = this.#cluster;
        const readConcern = { level: 'majority', ...(now === undefined ? {} : { afterClusterTime: now }) };
        const find = { find: coll, filter, ...more, batchSize: 10_000, readConcern };
        const docs: Doc[] = [];
        let reply = await this.#cluster.command(this.db, find, { session, signal });
        for (;;) {
          const cursor = reply['cursor'] as { id: { isZero(): boolean }; firstBatch?: Doc[]; nextBatch?: Doc[] };
          docs.push(...(cursor.firstBatch ?? cursor.nextBatch ?? []));
          if (cursor.id.isZero()) return docs;
          const more = { getMore: cursor.id, collection: coll };
          reply = await this.#cluster.command(this.db, more, { session, signal });
        }
      } finally {
        await session.endSession();
      }
    });
  }

  /** Documents by their `_id`, those that are there. */
  async findByIds(coll: string, ids: readonly string[], signal: AbortSignal): Promise<Doc[]> {
    const found: Doc[] = [];
    for (let from = 0; from < ids.length; from += IDS_PER_COMMAND)
      found.push(...(await this.find(coll, { _id: { $in: ids.slice(from, from + IDS_PER_COMMAND) } }, signal)));
    return found;
  }
}
