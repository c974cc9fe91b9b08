/** A collection or view by its two names. */
export interface Namespace {
  readonly db: string;
  readonly coll: string;
}

/** "db.coll". */
export function nsText(ns: Namespace): string {
  return `${ns.db}.${ns.coll}`;
}

export function sameNs(a: Namespace, b: Namespace): boolean {
  return a.db === b.db && a.coll === b.coll;
}

const SYSTEM_DATABASES = new Set(['admin', 'local', 'config']);
const INTERNAL_DATABASE = /^(mongosync_|__mdb_internal)/;

/** Databases that are never migrated: the server's own and those of migration tools. */
export function isIgnoredDatabase(db: string): boolean {
  return SYSTEM_DATABASES.has(db) || INTERNAL_DATABASE.test(db);
}

/** Collections that are never migrated: the server's own. Views are read from the catalog, not from system.views. */
export function isIgnoredCollection(coll: string): boolean {
  return coll.startsWith('system.');
}

export function isIgnored(ns: Namespace): boolean {
  return isIgnoredDatabase(ns.db) || isIgnoredCollection(ns.coll);
}

/** Names the server gives to the temporary half of convertToCapped; their documents emit no events. */
export function isConvertToCappedTemporary(coll: string): boolean {
  return /^tmp[A-Za-z0-9]{5}\.convertToCapped\./.test(coll);
}
