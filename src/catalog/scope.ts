/** Decides which namespaces of the source are migrated, and what they are called on the destination. */
import type { Doc } from '../bson/bson.js';
import type { Cluster } from '../cluster/cluster.js';
import { type FieldViolation, invalidRequest } from '../errors.js';
import { convertToCappedName, isIgnored, isIgnoredDatabase, isUnnamedTemporary, type Namespace } from './namespace.js';
import { NamespaceFilter, type NamespaceFilterEntry, type NamespaceFilterOptions } from './namespace-filter.js';
import { RegexJudge } from './regex-judge.js';

/** The start options that decide what is migrated, and under which names. */
export interface ScopeOptions extends NamespaceFilterOptions {
  /** Databases that get another name on the destination. */
  readonly namespaceRemap: readonly { readonly from: string; readonly to: string }[];
  /** The destination holds data of others: views are not migrated, and nothing is known of what else is there. */
  readonly preExistingDestinationData: boolean;
}

/** The kinds of change events that are document changes. */
export const CRUD = ['insert', 'update', 'replace', 'delete'];

/**
 * Which namespaces of the source are migrated, and what they are called on the destination. Everything that looks at
 * the source's names (catalog, change stream, DDL, preflight) asks here, so that all agree.
 *
 * Temporary collections of the server (`$out`, renames across databases, convertToCapped) are judged by the name they
 * will have in the end, or, where that cannot be known yet, followed only in a wholly included database.
 * Source: docs/options.md, docs/04-apply.md.
 */
export class Scope {
  readonly #filter: NamespaceFilter;
  /** The filter as it was given. */
  readonly entries: NamespaceFilterOptions;
  readonly #names: ReadonlyMap<string, string>;
  /** The names on the source of each database that gets another name. */
  readonly #origins = new Map<string, string[]>();
  readonly #judge: RegexJudge;
  /** Whether views are migrated, besides collections. */
  readonly migratesViews: boolean;
  /** Whether the destination may hold namespaces of others. */
  readonly sharesDestination: boolean;

  constructor(source: Cluster, options: ScopeOptions) {
    this.#judge = new RegexJudge(source);
    this.#filter = new NamespaceFilter(options, this.#judge);
    this.entries = options;
    this.#names = new Map(options.namespaceRemap.map(({ from, to }) => [from, to]));
    for (const { from, to } of options.namespaceRemap) {
      const origins = this.#origins.get(to) ?? [];
      origins.push(from);
      this.#origins.set(to, origins);
    }
    this.migratesViews = !options.preExistingDestinationData;
    this.sharesDestination = options.preExistingDestinationData;
  }

  /** Whether a part of the source only is migrated. */
  get isFiltered(): boolean {
    return !this.#filter.isEmpty;
  }

  /** Whether every namespace keeps its name. */
  get keepsNames(): boolean {
    return this.#names.size === 0;
  }

  /** The namespace on the destination. */
  target(ns: Namespace): Namespace {
    return { db: this.#names.get(ns.db) ?? ns.db, coll: ns.coll };
  }

  /** Whether a namespace of the destination is one that something is, or could be, migrated to. */
  async isTarget(ns: Namespace, signal: AbortSignal): Promise<boolean> {
    const own = this.#names.has(ns.db) ? [] : [ns.db];
    for (const db of [...own, ...(this.#origins.get(ns.db) ?? [])])
      if (await this.follows({ db, coll: ns.coll }, signal)) return true;
    return false;
  }

  /** Whether a source namespace is migrated. */
  async follows(ns: Namespace, signal: AbortSignal): Promise<boolean> {
    if (isIgnored(ns)) return false;
    if (this.#filter.isEmpty) return true;
    const final = convertToCappedName(ns.coll);
    if (final !== undefined) return this.#filter.includes({ db: ns.db, coll: final }, signal);
    if (isUnnamedTemporary(ns.coll)) return this.#filter.includesAllOf(ns.db, signal);
    return this.#filter.includes(ns, signal);
  }

  /** What one entry names, whatever the others say. */
  namedBy(entry: NamespaceFilterEntry): NamespaceFilter {
    return new NamespaceFilter({ includeNamespaces: [entry], excludeNamespaces: [] }, this.#judge);
  }

  /** The databases that may hold namespaces to migrate. */
  async databases(names: readonly string[], signal: AbortSignal): Promise<string[]> {
    await this.#filter.learn(
      names.map((db) => ({ db, coll: '' })),
      signal,
    );
    const found: string[] = [];
    for (const db of names) {
      if (!isIgnoredDatabase(db) && (await this.#filter.includesSomeOf(db, signal))) found.push(db);
    }
    return found;
  }

  /** Whether the filter by itself includes something of a database, even of one that is never migrated. */
  letsPass(db: string, signal: AbortSignal): Promise<boolean> {
    return this.#filter.includesSomeOf(db, signal);
  }

  /** Of catalog entries, the ones that are migrated; views that are not, for their kind, are among them. */
  async select<T extends { readonly ns: Namespace }>(entries: readonly T[], signal: AbortSignal): Promise<T[]> {
    if (this.#filter.isEmpty) return [...entries];
    await this.#filter.learn(
      entries.map((entry) => entry.ns),
      signal,
    );
    const found: T[] = [];
    for (const entry of entries) if (await this.follows(entry.ns, signal)) found.push(entry);
    return found;
  }

  /** Whether all collections that a database has, or may get, are migrated. */
  includesAllOf(db: string, signal: AbortSignal): Promise<boolean> {
    return this.#filter.includesAllOf(db, signal);
  }

  /** Stages for a change stream: document changes elsewhere are left out at the source, DDL never. */
  stages(): Doc[] {
    if (this.#filter.isEmpty) return [];
    return [{ $match: { $expr: { $or: [{ $not: [{ $in: ['$operationType', CRUD] }] }, this.#filter.expression()] } } }];
  }

  /** Errors: InvalidRequest, with what the server has against each pattern. */
  async validate(signal: AbortSignal): Promise<void> {
    const violations: FieldViolation[] = [];
    for (const field of ['includeNamespaces', 'excludeNamespaces'] as const) {
      for (const [index, entry] of this.entries[field].entries())
        violations.push(...(await this.#violations(entry, `${field}[${index}]`, signal)));
    }
    if (violations.length > 0) throw invalidRequest(violations);
  }

  async #violations(entry: NamespaceFilterEntry, path: string, signal: AbortSignal): Promise<FieldViolation[]> {
    const violations: FieldViolation[] = [];
    for (const name of ['databaseRegex', 'collectionsRegex'] as const) {
      const regex = entry[name];
      const refusal = regex === undefined ? undefined : await this.#judge.refusal(regex, signal);
      if (refusal !== undefined) {
        violations.push({ field: `${path}.${name}.pattern`, description: `the server refuses it: ${refusal}` });
      }
    }
    return violations;
  }
}
