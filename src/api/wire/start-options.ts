/** Reads the options of a start from a request, and checks each of them for its form. */
import type {
  DatabaseName,
  NamespaceFilter,
  NamespaceRemapEntry,
  NaturalOrderEntry,
  RegexPattern,
  Sharding,
  ShardingEntry,
  StartRequest,
} from '../../../gen/mongoferry/v1/start_options.js';
import type { NamespaceFilterEntry } from '../../catalog/namespace-filter.js';
import type { RegexPattern as RegexOption } from '../../catalog/regex-judge.js';
import { AppError } from '../../errors.js';
import type { ShardKeyField } from '../../metadata/migration-options.js';
import { resolveStartOptions, type StartOptions } from '../../start/options.js';
import { MAX_NAME_CHARACTERS, MAX_PATTERN_BYTES, MAX_REGEXES } from '../limits.js';
import { memberPath, type Violations } from '../violations.js';
import { checkMatchValues } from './match-values.js';

/**
 * The options of a request. Notes every violation of form, and of the rules between options, under `prefix`; with one
 * noted, the result is not to be used. Source: docs/api.md.
 */
export function readStartOptions(request: StartRequest, prefix: string, violations: Violations): StartOptions {
  const at = (field: string): string => memberPath(prefix, field);
  const options: StartOptions = {
    source: request.source,
    destination: request.destination,
    includeNamespaces: list(request.includeNamespaces, at('includeNamespaces'), violations, readFilterEntry),
    excludeNamespaces: list(request.excludeNamespaces, at('excludeNamespaces'), violations, readFilterEntry),
    copyInNaturalOrder: list(request.copyInNaturalOrder, at('copyInNaturalOrder'), violations, readNaturalOrderEntry),
    namespaceRemap: list(request.namespaceRemap, at('namespaceRemap'), violations, readRemapEntry),
    ...given('buildIndexes', request.buildIndexes),
    ...given('enableUserWriteBlocking', readWriteBlocking(request, at('enableUserWriteBlocking'), violations)),
    ...given('reversible', request.reversible),
    ...given('detectRandomId', request.detectRandomId),
    ...given('preExistingDestinationData', request.preExistingDestinationData),
    ...given('sharding', request.sharding && readSharding(request.sharding, at('sharding'), violations)),
    ...given('verification', request.verification && { ...given('enabled', request.verification.enabled) }),
    ...given('documentFilter', readDocumentFilter(request, at('documentFilter'), violations)),
    ...given('skipDiskSpaceCheck', request.skipDiskSpaceCheck),
  };
  checkRegexCount(options, at, violations);
  addRuleViolations(options, prefix, violations);
  return options;
}

/** Of both lists together; named is the one in which there are too many. */
function checkRegexCount(options: StartOptions, at: (field: string) => string, violations: Violations): void {
  let count = 0;
  for (const field of ['includeNamespaces', 'excludeNamespaces'] as const) {
    for (const { databaseRegex, collectionsRegex } of options[field])
      count += Number(databaseRegex !== undefined) + Number(collectionsRegex !== undefined);
    if (count > MAX_REGEXES) {
      violations.add(at(field), `has more than ${MAX_REGEXES} regular expressions; join them with "|"`);
      return;
    }
  }
}

/** The rules between options are the migration's; asked here too, so that one answer names every problem. */
function addRuleViolations(options: StartOptions, prefix: string, violations: Violations): void {
  try {
    resolveStartOptions(options);
  } catch (error) {
    if (!(error instanceof AppError) || error.code !== 'InvalidRequest') throw error;
    for (const { field, description } of error.violations) violations.add(memberPath(prefix, field), description);
  }
}

type ReadEntry<From, To> = (entry: From, path: string, violations: Violations) => To;

function list<From, To>(
  entries: readonly From[],
  path: string,
  violations: Violations,
  read: ReadEntry<From, To>,
): To[] {
  return entries.map((entry, i) => read(entry, `${path}[${i}]`, violations));
}

function readFilterEntry(entry: NamespaceFilter, path: string, violations: Violations): NamespaceFilterEntry {
  if (entry.database === undefined && entry.databaseRegex === undefined) {
    violations.add(path, 'needs database or databaseRegex');
  }
  if (entry.database !== undefined && entry.databaseRegex !== undefined) {
    violations.add(path, 'must not have both database and databaseRegex');
  }
  checkText(entry.database, `${path}.database`, violations);
  checkNames(entry.collections, `${path}.collections`, violations);
  return {
    collections: entry.collections,
    ...given('database', entry.database),
    ...given(
      'databaseRegex',
      entry.databaseRegex && readRegex(entry.databaseRegex, `${path}.databaseRegex`, violations),
    ),
    ...given(
      'collectionsRegex',
      entry.collectionsRegex && readRegex(entry.collectionsRegex, `${path}.collectionsRegex`, violations),
    ),
  };
}

function readRegex(regex: RegexPattern, path: string, violations: Violations): RegexOption {
  const options = regex.options ?? '';
  if (regex.pattern === '') violations.add(`${path}.pattern`, 'must not be empty');
  if (Buffer.byteLength(regex.pattern) > MAX_PATTERN_BYTES)
    violations.add(`${path}.pattern`, `must not be longer than ${MAX_PATTERN_BYTES} bytes`);
  if (regex.pattern.includes('\0')) violations.add(`${path}.pattern`, 'must not hold a null character');
  if (!/^[imsx]*$/.test(options)) violations.add(`${path}.options`, 'may only hold i, m, s and x');
  return { pattern: regex.pattern, options };
}

function readNaturalOrderEntry(
  entry: NaturalOrderEntry,
  path: string,
  violations: Violations,
): StartOptions['copyInNaturalOrder'][number] {
  if (entry.database === '') violations.add(`${path}.database`, 'is required; "." means every database');
  checkText(entry.database, `${path}.database`, violations);
  checkNames(entry.collections, `${path}.collections`, violations);
  return { database: entry.database, collections: entry.collections };
}

function checkNames(names: readonly string[], path: string, violations: Violations): void {
  for (const [i, name] of names.entries()) {
    checkText(name, `${path}[${i}]`, violations);
  }
}

/** A name that is given. */
function checkText(text: string | undefined, path: string, violations: Violations): void {
  if (text === '') violations.add(path, 'must not be empty');
  if (text !== undefined && text.length > MAX_NAME_CHARACTERS)
    violations.add(path, `must not be longer than ${MAX_NAME_CHARACTERS} characters`);
}

function readRemapEntry(
  entry: NamespaceRemapEntry,
  path: string,
  violations: Violations,
): StartOptions['namespaceRemap'][number] {
  const database = (side: DatabaseName | undefined, name: string): string => {
    if (!side?.database) violations.add(`${path}.${name}.database`, 'is required');
    checkText(side?.database, `${path}.${name}.database`, violations);
    return side?.database ?? '';
  };
  return { from: database(entry.from, 'from'), to: database(entry.to, 'to') };
}

function readWriteBlocking(request: StartRequest, path: string, violations: Violations): string | boolean | undefined {
  const value: unknown = request.enableUserWriteBlocking;
  if (value === undefined || value === null) return undefined;
  if (typeof value === 'string' || typeof value === 'boolean') return value;
  violations.add(path, 'must be true, false, "destinationOnly", "sourceAndDestination" or "none"');
  return undefined;
}

function readSharding(sharding: Sharding, path: string, violations: Violations): NonNullable<StartOptions['sharding']> {
  return {
    createSupportingIndexes: sharding.createSupportingIndexes ?? false,
    shardingEntries: list(sharding.shardingEntries, `${path}.shardingEntries`, violations, readShardingEntry),
  };
}

type ShardingEntryOption = NonNullable<StartOptions['sharding']>['shardingEntries'][number];

function readShardingEntry(entry: ShardingEntry, path: string, violations: Violations): ShardingEntryOption {
  if (entry.database === '') violations.add(`${path}.database`, 'is required');
  if (entry.collection === '') violations.add(`${path}.collection`, 'is required');
  const fields = entry.shardCollection?.key ?? [];
  const keyPath = `${path}.shardCollection.key`;
  if (fields.length === 0) violations.add(keyPath, 'is required: an array such as [{"field": 1}]');
  const key = new Map<string, ShardKeyField>();
  for (const [i, struct] of fields.entries()) {
    const field = readKeyField(struct, `${keyPath}[${i}]`, violations);
    if (field === undefined) continue;
    if (key.has(field.field)) violations.add(`${keyPath}[${i}]`, 'names a field that the key already has');
    key.set(field.field, field);
  }
  return { database: entry.database, collection: entry.collection, key: [...key.values()] };
}

function readKeyField(
  struct: Readonly<Record<string, unknown>>,
  path: string,
  violations: Violations,
): ShardKeyField | undefined {
  const [member, ...more] = Object.entries(struct);
  if (member === undefined || more.length > 0) {
    violations.add(path, 'must be an object of exactly one field: write a compound key as one object per field');
    return undefined;
  }
  const [field, value] = member;
  if (field === '') violations.add(path, 'names an empty field');
  if (value === 1 || value === -1 || value === 'hashed') return { field, value };
  violations.add(memberPath(path, field), 'must be 1, -1 or "hashed"');
  return undefined;
}

function readDocumentFilter(
  request: StartRequest,
  path: string,
  violations: Violations,
): StartOptions['documentFilter'] {
  const filter = request.documentFilter;
  if (filter === undefined) return undefined;
  if (filter.field === '') violations.add(`${path}.field`, 'is required');
  checkText(filter.field, `${path}.field`, violations);
  if (/[.$\0]/.test(filter.field)) violations.add(`${path}.field`, 'must be a top-level field, without "." and "$"');
  const values: readonly unknown[] = filter.matchValues;
  if (values.length === 0) violations.add(`${path}.matchValues`, 'must hold at least one value');
  checkMatchValues(values, `${path}.matchValues`, violations);
  return { field: filter.field, matchValues: values };
}

/** `{ [name]: value }`, or nothing when the value is not given. */
function given<K extends string, V>(name: K, value: V | undefined): { readonly [P in K]?: V } {
  return value === undefined ? {} : ({ [name]: value } as { readonly [P in K]?: V });
}
