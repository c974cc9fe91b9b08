/** Names collections and views, and decides which names are never migrated. */

/** A collection or view by its two names. */
export interface Namespace {
  readonly db: string;
  readonly coll: string;
}

/** "db.coll". */
export function nsText(ns: Namespace): string {
  return `${ns.db}.${ns.coll}`;
}

/** A source namespace as people read it, with its name on the destination where that is another one. */
export function describeNs(source: Namespace, destination: Namespace): string {
  const name = nsText(source);
  const there = nsText(destination);
  return name === there ? name : `${name} (${there} on the destination)`;
}

export function sameNs(a: Namespace, b: Namespace): boolean {
  return a.db === b.db && a.coll === b.coll;
}

const SYSTEM_DATABASES = new Set(['admin', 'local', 'config']);
/**
 * A regular expression for the names of databases in which migration tools, this one included, keep what they remember.
 * Nothing more than these: a database called `mongosync_metrics` is somebody's data.
 */
export const MIGRATION_TOOLS_PATTERN = '^(mongosync_reserved_for_|mongosync_internal_|__mdb_internal_mongosync)';
const MIGRATION_TOOLS = new RegExp(MIGRATION_TOOLS_PATTERN);

/** Whether a database is known by its name for a migration tool's. */
export function isOfMigrationTools(db: string): boolean {
  return MIGRATION_TOOLS.test(db);
}

/** Databases that are never migrated: the server's own and those of migration tools. */
export function isIgnoredDatabase(db: string): boolean {
  return SYSTEM_DATABASES.has(db) || isOfMigrationTools(db);
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

/** The name that a collection being converted to a capped one has in the end; undefined for other names. */
export function convertToCappedName(coll: string): string | undefined {
  return isConvertToCappedTemporary(coll) ? coll.slice('tmpXXXXX.convertToCapped.'.length) : undefined;
}

/** `$out` writes into `tmp.agg_out.<uuid>`; only the rename tells what it becomes. */
export function isOutTemporary(coll: string): boolean {
  return /^tmp\.agg_out\.[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/.test(coll);
}

/** A rename across databases copies into `tmpXXXXX.renameCollection` of the new database, and renames that. */
export function isRenameTemporary(coll: string): boolean {
  return /^tmp[A-Za-z0-9]{5}\.renameCollection$/.test(coll);
}

/** Temporary collections of the server whose names do not tell what they become. */
export function isUnnamedTemporary(coll: string): boolean {
  return isOutTemporary(coll) || isRenameTemporary(coll);
}
