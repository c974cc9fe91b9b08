/** Changes documents so that they enter and leave a document filter. */
import {
  Binary,
  type ClientSession,
  type Collection,
  Decimal128,
  type Document,
  Double,
  Int32,
  Long,
  type MongoClient,
  ObjectId,
} from 'mongodb';
import { isExpected } from './workload-errors.js';
import { Random } from './workload-random.js';

const DATE = new Date('2024-05-01T00:00:00Z');
const OBJECT_ID = new ObjectId('65a1b2c3d4e5f60718293a4b');
const BYTES = Buffer.from([1, 2, 3, 255]);

/** `documentFilter` as a request has it, and the same values as a query has them. */
export const TENANT_FILTER = {
  request: {
    field: 'tenant',
    matchValues: [
      'red',
      { $numberLong: '7' },
      { $numberDecimal: '2.50' },
      { $date: DATE.toISOString() },
      { $oid: OBJECT_ID.toHexString() },
      { $binary: { base64: BYTES.toString('base64'), subType: '00' } },
      true,
    ],
  },
  query: {
    tenant: {
      $in: [
        'red',
        Long.fromInt(7),
        Decimal128.fromString('2.50'),
        DATE,
        OBJECT_ID,
        new Binary(BYTES),
        true,
      ] as unknown[],
    },
  },
} as const;

const IDS = 90;

/** Values of the field: within the filter by one of its forms, outside it, and some that look like within. */
function tenantOf(random: Random): unknown {
  return random.pick<() => unknown>([
    () => 'red',
    () => random.pick<unknown>([new Int32(7), Long.fromInt(7), new Double(7), Decimal128.fromString('7.0')]),
    () => random.pick<unknown>([new Double(2.5), Decimal128.fromString('2.5')]),
    () => DATE,
    () => OBJECT_ID,
    () => new Binary(BYTES),
    () => true,
    () => ['blue', 'red'],
    () => [new Double(7), 8],
    () => 'blue',
    () => 'Red',
    () => new Int32(8),
    () => null,
    () => [['red'], 'blue'],
    () => ({ red: 7 }),
    () => [],
    () => false,
    () => new Binary(BYTES, 5),
  ])();
}

/**
 * A seeded workload of documents that change the field of {@link TENANT_FILTER} all the time: by inserts, deletes,
 * updates of every form, replacements and transactions, on few `_id`s of many types.
 */
export class TenantWorkload {
  readonly #client: MongoClient;
  readonly #random: Random;

  constructor(client: MongoClient, seed: number) {
    this.#client = client;
    this.#random = new Random(seed);
  }

  async run(operations: number): Promise<void> {
    for (let index = 0; index < operations; index++) {
      try {
        await this.#operate();
      } catch (error) {
        if (!(error instanceof Error && isExpected(error as never))) throw error;
      }
    }
  }

  async #operate(): Promise<void> {
    if (!this.#random.chance(0.1)) return this.#change(this.#collection());
    await using session = this.#client.startSession();
    session.startTransaction({ writeConcern: { w: 'majority' } });
    for (let step = 0; step < 4; step++) await this.#change(this.#collection(), session);
    await (this.#random.chance(0.2) ? session.abortTransaction() : session.commitTransaction());
  }

  #collection(): Collection {
    return this.#client.db('tenants').collection(this.#random.pick(['a', 'a', 'b', 'c']));
  }

  #id(): unknown {
    const n = this.#random.int(IDS);
    // One key of four types: what comes back may have other bytes.
    if (n % 3 === 0)
      return this.#random.pick<unknown>([new Int32(n), Long.fromInt(n), new Double(n), Decimal128.fromString(`${n}`)]);
    return n % 3 === 1 ? `id ${n}` : new ObjectId(n.toString(16).padStart(24, '0'));
  }

  #document(): Map<string, unknown> {
    const random = this.#random;
    const fields: [string, unknown][] = [
      ['n', random.int(1000)],
      ['list', [1, random.int(9)]],
      ['sub', { tenant: 'red' }],
    ];
    if (random.chance(0.9)) fields.splice(random.int(4), 0, ['tenant', tenantOf(random)]);
    return new Map(fields);
  }

  async #change(collection: Collection, session?: ClientSession): Promise<void> {
    const random = this.#random;
    const options = session === undefined ? {} : { session };
    const filter = { _id: this.#id() } as Document;
    const kind = random.int(20);
    if (kind < 4) {
      await collection.insertOne(new Map([['_id', filter['_id']], ...this.#document()]) as never, options);
    } else if (kind < 6) await collection.deleteOne(filter, options);
    else if (kind < 9)
      await collection.replaceOne(filter, this.#document() as never, { upsert: random.chance(0.5), ...options });
    else if (kind < 10) await collection.updateMany({ n: { $lt: random.int(200) } }, this.#update(), options);
    else await collection.updateOne(filter, this.#update(), { upsert: false, ...options });
  }

  #update(): Document {
    const random = this.#random;
    return random.pick<() => Document>([
      () => ({ $set: { tenant: tenantOf(random) } }),
      () => ({ $set: { tenant: tenantOf(random), n: random.int(1000) } }),
      () => ({ $unset: { tenant: '' } }),
      () => ({ $rename: { tenant: 'former' } }),
      () => ({ $rename: { former: 'tenant' } }),
      () => ({ $push: { tenant: tenantOf(random) } }),
      () => ({ $set: { 'tenant.0': 'red' } }),
      () => ({ $pop: { tenant: 1 } }),
      () => ({ $inc: { n: 1 } }),
      () => ({ $push: { list: random.int(9) } }),
      () => ({ $set: { 'sub.tenant': 'blue', tenantry: random.int(9) } }),
      () => [{ $set: { tenant: '$n', n: random.pick<unknown>(['$tenant', 7]) } }] as unknown as Document,
      () => [{ $replaceWith: { $mergeObjects: [{ _id: '$_id', n: '$n' }, '$$ROOT'] } }] as unknown as Document,
    ])();
  }
}
