/** Index builds of a simulated server: they take their time, stand in the way of other commands, and may be refused. */
import { Binary, Int32 } from 'mongodb';
import { changeIndexes } from './catalog.js';
import { mustBeThere } from './catalog-commands.js';
import { Codes, serverError } from './errors.js';
import { entriesOf } from './query.js';
import { toRaw } from './raw.js';
import { numberOf, type Request } from './request.js';
import type { FakeServer } from './server.js';
import type { FakeCollection, Spec } from './storage.js';
import { describe } from './stream-events.js';
import type { Timer } from './world.js';

interface Build {
  readonly id: Buffer;
  readonly collection: FakeCollection;
  readonly specs: readonly Spec[];
  readonly waiting: ((error: Error | undefined) => void)[];
  timer: Timer | undefined;
}

/** Builds under way. */
export class IndexBuilds {
  readonly #server: FakeServer;
  #running: Build[] = [];

  constructor(server: FakeServer) {
    this.#server = server;
  }

  /** Resolves once the indexes are there on the primary. Errors: the server's. */
  async create(request: Request): Promise<void> {
    const collection = mustBeThere(this.#server, request);
    const specs = (request.command['indexes'] as (Spec | Record<string, unknown>)[]).map(toIndex);
    const missing = specs.filter((spec) => !isThere(collection, spec));
    if (missing.length === 0) return;
    for (const spec of missing) refuseExpiry(collection, spec);
    const id = this.#server.state.uuid();
    const build: Build = { id, collection, specs: missing, waiting: [], timer: undefined };
    const ms = collection.size === 0 ? 0 : this.#server.chaos.buildMs();
    if (ms === 0) return this.#end(build);
    this.#running.push(build);
    build.timer = this.#server.after(ms, () => this.#finish(build));
    await new Promise<void>((resolve, reject) => {
      build.waiting.push((error) => (error === undefined ? resolve() : reject(error)));
    });
  }

  /** For users, whose builds are of no concern: the indexes are there at once. Errors: the server's. */
  createAtOnce(request: Request): void {
    const collection = mustBeThere(this.#server, request);
    const specs = (request.command['indexes'] as (Spec | Record<string, unknown>)[]).map(toIndex);
    const missing = specs.filter((spec) => !isThere(collection, spec));
    for (const spec of missing) refuseExpiry(collection, spec);
    if (missing.length > 0)
      this.#end({ id: collection.uuid, collection, specs: missing, waiting: [], timer: undefined });
  }

  /** As listIndexes shows those that are not finished. */
  listed(collection: FakeCollection): Spec[] {
    return this.#of(collection).flatMap(({ id, specs }) =>
      specs.map(
        (spec) =>
          new Map<string, unknown>([
            ['spec', spec],
            ['buildUUID', new Binary(id, 4)],
          ]),
      ),
    );
  }

  refuseWhileBuilding(collection: FakeCollection, code: number = Codes.BackgroundOperationInProgress): void {
    if (this.#of(collection).length > 0)
      throw serverError(code, `cannot perform operation: an index build is currently running for collection`);
  }

  /** Ends a build by the names of all its indexes; false when no build has just these. */
  abortNamed(collection: FakeCollection, names: readonly string[]): boolean {
    for (const build of this.#of(collection)) {
      const own = build.specs.map((spec) => String(spec.get('name')));
      if (own.every((name) => names.includes(name)) && names.every((name) => own.includes(name))) {
        this.#abort(build, Codes.IndexBuildAborted);
        return true;
      }
    }
    return false;
  }

  abort(collection: FakeCollection, code: number): void {
    for (const build of this.#of(collection)) this.#abort(build, code);
  }

  abortAll(code: number): void {
    for (const build of [...this.#running]) this.#abort(build, code);
  }

  #of(collection: FakeCollection): Build[] {
    return this.#running.filter((each) => each.collection === collection);
  }

  #abort(build: Build, code: number): void {
    build.timer?.cancel();
    this.#running = this.#running.filter((each) => each !== build);
    const error = serverError(code, 'Index build aborted');
    for (const tell of build.waiting) tell(error);
  }

  #finish(build: Build): void {
    this.#running = this.#running.filter((each) => each !== build);
    let failed = this.#server.chaos.buildRefusal();
    try {
      if (failed === undefined) this.#end(build);
    } catch (error) {
      failed = error as Error;
    }
    for (const tell of build.waiting) tell(failed);
  }

  #end({ collection, specs }: Build): void {
    const { catalog, state } = this.#server;
    if (catalog.find(collection.db, collection.name) !== collection)
      throw serverError(Codes.NamespaceNotFound, 'collection dropped');
    for (const spec of specs)
      if (spec.get('unique') === true && collection.hasDuplicates(spec))
        throw serverError(Codes.DuplicateKey, 'E11000 duplicate key error dup key: {}');
    state.change((tx) => {
      const indexes = new Map([
        ...collection.indexes,
        ...specs.map((spec) => [String(spec.get('name')), spec] as const),
      ]);
      tx.did(changeIndexes(collection, indexes), {
        operationType: 'createIndexes',
        ns: { db: collection.db, coll: collection.name },
        uuid: collection.uuid,
        description: describe([['indexes', specs]]),
      });
    });
  }
}

/** As the server stores it. */
function toIndex(given: Spec | Record<string, unknown>): Spec {
  const spec = entriesOf(given);
  const { collation, ...rest } = Object.fromEntries(spec) as { collation?: unknown };
  const isSimple = collation !== undefined && entriesOf(collation).get('locale') === 'simple';
  const entries = isSimple ? Object.entries(rest) : [...spec];
  const v = [['v', new Int32(2)] as const];
  // Options that say nothing are not kept.
  return new Map([...v, ...entries.filter(([name, value]) => name !== 'v' && value !== undefined && value !== false)]);
}

function refuseExpiry(collection: FakeCollection, spec: Spec): void {
  if (collection.isCapped && spec.has('expireAfterSeconds'))
    throw serverError(Codes.CannotCreateIndex, 'Cannot create TTL index on a capped collection');
}

function isThere(collection: FakeCollection, spec: Spec): boolean {
  const existing = collection.indexes.get(String(spec.get('name')));
  const twin = [...collection.indexes.values()].find((each) => keyText(each) === keyText(spec));
  if (existing === undefined && twin === undefined) return false;
  if (existing !== undefined && keyText(existing) !== keyText(spec))
    throw serverError(Codes.IndexKeySpecsConflict, 'An existing index has the same name as the requested index');
  if (existing !== undefined && sameOptions(existing, spec)) return true;
  throw serverError(Codes.IndexOptionsConflict, 'Index already exists with a different name or with other options');
}

function sameOptions(a: Spec, b: Spec): boolean {
  const text = (spec: Spec): string =>
    [...spec]
      .filter(([name]) => name !== 'prepareUnique' && name !== 'hidden')
      .map(
        ([name, value]) =>
          `${name} ${name === 'expireAfterSeconds' ? numberOf(value) : toRaw({ value }).toString('hex')}`,
      )
      .sort()
      .join();
  return text(a) === text(b);
}

/** What two indexes of one collection must not share. */
function keyText(spec: Spec): string {
  const part = (name: string): string => {
    const value = spec.get(name);
    return value === undefined ? '' : toRaw({ value }).toString('hex');
  };
  return ['key', 'collation', 'partialFilterExpression', 'unique', 'sparse'].map(part).join();
}
