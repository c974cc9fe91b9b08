/** Checks the rules between the options of a start. */
import { isIgnoredCollection, isIgnoredDatabase } from '../catalog/namespace.js';
import type { NamespaceFilterEntry } from '../catalog/namespace-filter.js';
import type {
  DatabaseRemap,
  MigrationOptions,
  NaturalOrderEntry,
  ShardingOption,
} from '../metadata/migration-options.js';

/** Notes one thing wrong with a request. */
export type Refuse = (field: string, description: string) => void;

/** Characters and length of database names. Source: MongoDB manual, "Naming Restrictions". */
const INVALID_DATABASE = /[/\\. "$\0]/;
/** Those that servers on Windows do not take besides. */
const NOT_PORTABLE = /[*<>:|?]/;
const MAX_DATABASE_BYTES = 63;

/**
 * The rules between options, and those on names that need no cluster. What depends on the clusters' versions or data is
 * the preflight's. Write blocking that the caller has not asked for is not held against it. Source: docs/options.md.
 */
export function checkOptionRules(options: MigrationOptions, isBlockingGiven: boolean, refuse: Refuse): void {
  for (const field of ['includeNamespaces', 'excludeNamespaces'] as const) {
    for (const [i, entry] of options[field].entries()) checkFilterEntry(entry, `${field}[${i}]`, refuse);
  }
  for (const [i, entry] of options.copyInNaturalOrder.entries()) checkNaturalOrderEntry(entry, i, refuse);
  checkRemap(options.namespaceRemap, refuse);
  checkSharding(options.sharding, refuse);
  if (isBlockingGiven) checkBlocking(options, refuse);
  checkReversible(options, isBlockingGiven, refuse);
  if (options.preExistingDestinationData && !filtered(options)) {
    refuse('preExistingDestinationData', 'needs includeNamespaces or excludeNamespaces');
  }
}

function filtered(options: MigrationOptions): boolean {
  return options.includeNamespaces.length + options.excludeNamespaces.length > 0;
}

function checkFilterEntry(entry: NamespaceFilterEntry, path: string, refuse: Refuse): void {
  if (entry.database !== undefined && isIgnoredDatabase(entry.database)) {
    refuse(`${path}.database`, `"${entry.database}" is a system database, which is never migrated`);
  }
  for (const [i, name] of entry.collections.entries()) {
    if (isIgnoredCollection(name))
      refuse(`${path}.collections[${i}]`, `"${name}" is a system collection, which is never migrated`);
  }
}

function checkNaturalOrderEntry(entry: NaturalOrderEntry, index: number, refuse: Refuse): void {
  const path = `copyInNaturalOrder[${index}]`;
  if (entry.database === '.' && entry.collections.length > 0) {
    refuse(`${path}.collections`, 'must be left out with database ".", which means everything');
  }
  if (isIgnoredDatabase(entry.database)) {
    refuse(`${path}.database`, `"${entry.database}" is a system database, which is never migrated`);
  }
}

function checkRemap(remap: readonly DatabaseRemap[], refuse: Refuse): void {
  const sources = new Set<string>();
  const targets = new Map<string, string>();
  for (const [i, { from, to }] of remap.entries()) {
    const path = `namespaceRemap[${i}]`;
    checkDatabaseName(from, `${path}.from.database`, refuse);
    if (!checkDatabaseName(to, `${path}.to.database`, refuse) && NOT_PORTABLE.test(to))
      refuse(`${path}.to.database`, `"${to}" is not a valid database name on every server`);
    if (from !== '' && from === to) refuse(`${path}.to.database`, 'is the same as from');
    if (sources.has(from)) refuse(`${path}.from.database`, `"${from}" is already remapped`);
    sources.add(from);
    const other = targets.get(to.toLowerCase());
    if (other !== undefined && other !== to)
      refuse(`${path}.to.database`, `"${to}" differs from "${other}" only in case`);
    targets.set(to.toLowerCase(), to);
  }
}

/** Whether something was wrong. Names that differ from a system database's in case only are its name to a server. */
function checkDatabaseName(name: string, path: string, refuse: Refuse): boolean {
  if (name === '') return true;
  const isSystem = isIgnoredDatabase(name.toLowerCase());
  const isInvalid = INVALID_DATABASE.test(name) || Buffer.byteLength(name) > MAX_DATABASE_BYTES;
  if (isSystem) refuse(path, `"${name}" is a system database, which is never migrated`);
  else if (isInvalid) refuse(path, `"${name}" is not a valid database name`);
  return isSystem || isInvalid;
}

/** Source: MongoDB manual, "Hashed Sharding": one field of a key may be hashed. */
function checkSharding(sharding: ShardingOption | null, refuse: Refuse): void {
  const met = new Set<string>();
  for (const [i, { database, collection, key }] of (sharding?.shardingEntries ?? []).entries()) {
    const path = `sharding.shardingEntries[${i}]`;
    if (isIgnoredDatabase(database))
      refuse(`${path}.database`, `"${database}" is a system database, which is never migrated`);
    if (isIgnoredCollection(collection))
      refuse(`${path}.collection`, `"${collection}" is a system collection, which is never migrated`);
    const name = `${database}.${collection}`;
    if (met.has(name)) refuse(path, `names ${name} a second time`);
    met.add(name);
    if (key.filter(({ value }) => value === 'hashed').length > 1)
      refuse(`${path}.shardCollection.key`, 'may have one hashed field only');
  }
}

/** A block of the source would also stop applications whose data stays there. */
function checkBlocking(options: MigrationOptions, refuse: Refuse): void {
  if (options.writeBlocking !== 'sourceAndDestination') return;
  const text = '"sourceAndDestination" is not permitted';
  if (options.preExistingDestinationData)
    refuse('enableUserWriteBlocking', `${text} with preExistingDestinationData; use "none" or "destinationOnly"`);
  else if (filtered(options))
    refuse('enableUserWriteBlocking', `${text} with includeNamespaces or excludeNamespaces; use "destinationOnly"`);
  else if (options.documentFilter !== null)
    refuse('enableUserWriteBlocking', `${text} with documentFilter; use "destinationOnly"`);
}

function checkReversible(options: MigrationOptions, isBlockingGiven: boolean, refuse: Refuse): void {
  if (!options.reversible) return;
  if (isBlockingGiven && options.writeBlocking !== 'sourceAndDestination')
    refuse('reversible', 'needs enableUserWriteBlocking "sourceAndDestination"');
  const excluded: readonly [boolean, string][] = [
    [options.buildIndexes === 'never', 'buildIndexes "never"'],
    [filtered(options), 'includeNamespaces or excludeNamespaces'],
    [options.preExistingDestinationData, 'preExistingDestinationData'],
    [options.namespaceRemap.length > 0, 'namespaceRemap'],
    [options.documentFilter !== null, 'documentFilter'],
  ];
  for (const [given, name] of excluded) if (given) refuse('reversible', `is not permitted with ${name}`);
}
