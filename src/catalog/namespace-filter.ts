/** Decides which names `includeNamespaces` and `excludeNamespaces` permit. */
import type { Doc } from '../bson/bson.js';
import type { Namespace } from './namespace.js';
import { type RegexPattern, regexExpression } from './regex-judge.js';

/** Names databases or collections to include or exclude. Neither kind of collections: the whole database. */
export interface NamespaceFilterEntry {
  readonly database?: string;
  readonly databaseRegex?: RegexPattern;
  readonly collections: readonly string[];
  readonly collectionsRegex?: RegexPattern;
}

/** The two lists of a filter; both empty: everything. */
export interface NamespaceFilterOptions {
  readonly includeNamespaces: readonly NamespaceFilterEntry[];
  readonly excludeNamespaces: readonly NamespaceFilterEntry[];
}

/** Decides regular expressions; see RegexJudge. */
export interface NameMatcher {
  matches(regex: RegexPattern, text: string, signal: AbortSignal): Promise<boolean>;
  learn(regex: RegexPattern, texts: Iterable<string>, signal: AbortSignal): Promise<void>;
}

/**
 * Which names a migration follows: what an include entry names (everything without one), less what an exclude entry
 * names. Knows nothing of system names or temporary collections: see Scope. Source: docs/options.md.
 */
export class NamespaceFilter {
  readonly #include: readonly NamespaceFilterEntry[];
  readonly #exclude: readonly NamespaceFilterEntry[];
  readonly #included: EntryIndex;
  readonly #excluded: EntryIndex;
  readonly #matcher: NameMatcher;

  constructor(options: NamespaceFilterOptions, matcher: NameMatcher) {
    this.#include = options.includeNamespaces;
    this.#exclude = options.excludeNamespaces;
    this.#included = new EntryIndex(this.#include);
    this.#excluded = new EntryIndex(this.#exclude);
    this.#matcher = matcher;
  }

  /** Whether it lets everything pass. */
  get isEmpty(): boolean {
    return this.#include.length + this.#exclude.length === 0;
  }

  async includes(ns: Namespace, signal: AbortSignal): Promise<boolean> {
    const names = (entry: IndexedEntry): Promise<boolean> => this.#names(entry, ns, signal);
    const included = this.#include.length === 0 || (await some(this.#included.of(ns.db), names));
    return included && !(await some(this.#excluded.of(ns.db), names));
  }

  /** Whether every collection a database has or may get is included. */
  async includesAllOf(db: string, signal: AbortSignal): Promise<boolean> {
    const inDatabase = ({ entry }: IndexedEntry): Promise<boolean> => this.#namesDatabase(entry, db, signal);
    const whole = this.#included.of(db).filter(({ entry }) => isWhole(entry));
    const included = this.#include.length === 0 || (await some(whole, inDatabase));
    return included && !(await some(this.#excluded.of(db), inDatabase));
  }

  /** Whether a database may have included collections. */
  async includesSomeOf(db: string, signal: AbortSignal): Promise<boolean> {
    const inDatabase = ({ entry }: IndexedEntry): Promise<boolean> => this.#namesDatabase(entry, db, signal);
    const included = this.#include.length === 0 || (await some(this.#included.of(db), inDatabase));
    const whole = this.#excluded.of(db).filter(({ entry }) => isWhole(entry));
    return included && !(await some(whole, inDatabase));
  }

  /** Has the expressions of all entries decided for many namespaces with few commands. */
  async learn(namespaces: readonly Namespace[], signal: AbortSignal): Promise<void> {
    for (const { databaseRegex, collectionsRegex } of [...this.#include, ...this.#exclude]) {
      const databases = namespaces.map((ns) => ns.db);
      if (databaseRegex !== undefined) await this.#matcher.learn(databaseRegex, databases, signal);
      const collections = namespaces.map((ns) => ns.coll);
      if (collectionsRegex !== undefined) await this.#matcher.learn(collectionsRegex, collections, signal);
    }
  }

  /** An aggregation expression that is true for change events of included names. */
  expression(): Doc {
    return {
      $and: [
        ...(this.#include.length === 0 ? [] : [{ $or: this.#include.map(entryExpression) }]),
        ...this.#exclude.map((entry) => ({ $not: [entryExpression(entry)] })),
      ],
    };
  }

  async #names({ entry, collections }: IndexedEntry, ns: Namespace, signal: AbortSignal): Promise<boolean> {
    if (!(await this.#namesDatabase(entry, ns.db, signal))) return false;
    if (isWhole(entry) || collections.has(ns.coll)) return true;
    const { collectionsRegex } = entry;
    return collectionsRegex !== undefined && this.#matcher.matches(collectionsRegex, ns.coll, signal);
  }

  async #namesDatabase(entry: NamespaceFilterEntry, db: string, signal: AbortSignal): Promise<boolean> {
    if (entry.database !== undefined) return entry.database === db;
    return entry.databaseRegex !== undefined && this.#matcher.matches(entry.databaseRegex, db, signal);
  }
}

interface IndexedEntry {
  readonly entry: NamespaceFilterEntry;
  readonly collections: ReadonlySet<string>;
}

/** Entries by the database that they name: a filter may name a thousand, and is asked about every collection. */
class EntryIndex {
  readonly #byDatabase = new Map<string, IndexedEntry[]>();
  readonly #others: IndexedEntry[] = [];

  constructor(entries: readonly NamespaceFilterEntry[]) {
    for (const entry of entries) {
      const indexed = { entry, collections: new Set(entry.collections) };
      const { database } = entry;
      const list = database === undefined ? this.#others : (this.#byDatabase.get(database) ?? []);
      list.push(indexed);
      if (database !== undefined) this.#byDatabase.set(database, list);
    }
  }

  /** Those that may name something of a database. */
  of(db: string): readonly IndexedEntry[] {
    return [...(this.#byDatabase.get(db) ?? []), ...this.#others];
  }
}

function isWhole(entry: NamespaceFilterEntry): boolean {
  return entry.collections.length === 0 && entry.collectionsRegex === undefined;
}

/** As an expression, never as `$regex` on `ns.coll`: 6.0 rewrites that one wrongly (docs/04-apply.md). */
function entryExpression(entry: NamespaceFilterEntry): Doc {
  const database =
    entry.databaseRegex === undefined
      ? { $eq: ['$ns.db', { $literal: entry.database }] }
      : regexExpression('$ns.db', entry.databaseRegex);
  const collections = [
    ...(entry.collections.length === 0 ? [] : [{ $in: ['$ns.coll', { $literal: entry.collections }] }]),
    ...(entry.collectionsRegex === undefined ? [] : [regexExpression('$ns.coll', entry.collectionsRegex)]),
  ];
  return { $and: [database, ...(collections.length === 0 ? [] : [{ $or: collections }])] };
}

async function some<T>(items: readonly T[], test: (item: T) => Promise<boolean>): Promise<boolean> {
  for (const item of items) if (await test(item)) return true;
  return false;
}
