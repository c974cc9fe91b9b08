/** Writes to a source all the while, as an application does. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Collection, MongoClient } from 'mongodb';

interface Counted {
  readonly _id: number;
  readonly n?: number;
  readonly text?: string;
}

/**
 * An application that writes to a source all the while: inserts, updates and deletes, a few hundred a second, into
 * `steady.counted`. Stop it before a commit; disposal stops it too, whatever became of its writes.
 */
export class SteadyWriter implements AsyncDisposable {
  readonly #collection: Collection<Counted>;
  readonly #ended: Promise<void>;
  #stopped = false;
  #writes = 0;

  private constructor(client: MongoClient) {
    this.#collection = client.db('steady').collection<Counted>('counted');
    this.#ended = this.#run();
    this.#ended.catch(() => undefined);
  }

  /** Begins to write. */
  static start(client: MongoClient): SteadyWriter {
    return new SteadyWriter(client);
  }

  /** Writes so far. */
  get writes(): number {
    return this.#writes;
  }

  /** Resolves, with the number of writes, once the last one is done. Errors: the one that ended the writing. */
  async stop(): Promise<number> {
    this.#stopped = true;
    await this.#ended;
    return this.#writes;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true;
    await Promise.allSettled([this.#ended]);
  }

  async #run(): Promise<void> {
    for (let n = 0; !this.#stopped; n++) {
      await this.#collection.insertOne({ _id: n, text: `t${n}` });
      await this.#collection.updateOne({ _id: n >> 1 }, { $inc: { n: 1 }, $set: { text: `u${n}` } });
      if (n % 5 === 4) await this.#collection.deleteOne({ _id: n - 3 });
      this.#writes += n % 5 === 4 ? 3 : 2;
      await sleep(2);
    }
  }
}
