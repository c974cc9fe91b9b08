/** The databases of a simulated server, with their collections and views. Every change can be undone. */
import { type Change, FakeCollection, type Spec } from './storage.js';

/** A view: a definition, and no documents. */
export interface FakeView {
  readonly viewOptions: Spec;
}

export type CatalogEntry = FakeCollection | FakeView;

/** By database, then by name. A database stays when all of it is dropped, until it is dropped itself. */
export class FakeCatalog {
  readonly #databases = new Map<string, Map<string, CatalogEntry>>();

  /** The databases that hold something. */
  get names(): string[] {
    return [...this.#databases].filter(([, entries]) => entries.size > 0).map(([name]) => name);
  }

  /** Whether there is a database, be it an empty one. */
  knows(db: string): boolean {
    return this.#databases.has(db);
  }

  /** What a database holds, by name. */
  entries(db: string): [string, CatalogEntry][] {
    return [...(this.#databases.get(db) ?? [])].sort(([a], [b]) => (a < b ? -1 : 1));
  }

  find(db: string, name: string): CatalogEntry | undefined {
    return this.#databases.get(db)?.get(name);
  }

  collection(db: string, name: string): FakeCollection | undefined {
    const entry = this.find(db, name);
    return entry instanceof FakeCollection ? entry : undefined;
  }

  collections(): FakeCollection[] {
    return [...this.#databases.values()].flatMap((entries) =>
      [...entries.values()].filter((entry) => entry instanceof FakeCollection),
    );
  }

  byUuid(uuid: Buffer): FakeCollection | undefined {
    return this.collections().find((each) => each.uuid.equals(uuid));
  }

  /** Another database, be it empty, whose name differs in case only. */
  twinOf(db: string): string | undefined {
    return [...this.#databases.keys()].find((name) => name !== db && name.toLowerCase() === db.toLowerCase());
  }

  /** Puts an entry under a name, or takes away what is there. */
  put(db: string, name: string, entry: CatalogEntry | undefined): Change {
    const before = this.find(db, name);
    return made({ redo: () => this.#set(db, name, entry), undo: () => this.#set(db, name, before) });
  }

  /** Gives a collection another name. */
  rename(collection: FakeCollection, name: string): Change {
    const before = collection.name;
    const move = (from: string, to: string): void => {
      this.#set(collection.db, from, undefined);
      collection.name = to;
      this.#set(collection.db, to, collection);
    };
    return made({ redo: () => move(before, name), undo: () => move(name, before) });
  }

  /** Forgets a database that holds nothing. */
  forget(db: string): Change {
    const before = this.#databases.get(db);
    return made({
      redo: () => this.#databases.delete(db),
      undo: () => before !== undefined && this.#databases.set(db, before),
    });
  }

  #set(db: string, name: string, entry: CatalogEntry | undefined): void {
    const entries = this.#databases.get(db) ?? new Map<string, CatalogEntry>();
    this.#databases.set(db, entries);
    if (entry === undefined) entries.delete(name);
    else entries.set(name, entry);
  }
}

/** Replaces a collection's options. */
export function changeOptions(collection: FakeCollection, options: Spec): Change {
  const before = collection.options;
  return made({
    redo: () => {
      collection.options = options;
    },
    undo: () => {
      collection.options = before;
    },
  });
}

/** Replaces a collection's indexes. */
export function changeIndexes(collection: FakeCollection, indexes: ReadonlyMap<string, Spec>): Change {
  const before = collection.indexes;
  return made({
    redo: () => {
      collection.indexes = indexes;
    },
    undo: () => {
      collection.indexes = before;
    },
  });
}

/** A change with its first carrying out. */
export function made(change: { redo(): unknown; undo(): unknown }): Change {
  change.redo();
  return { redo: () => void change.redo(), undo: () => void change.undo() };
}
