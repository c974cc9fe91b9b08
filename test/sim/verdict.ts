/** Compares what a simulated migration has left on its destination with its source as of the commit time. */
import { Timestamp } from 'mongodb';
import { decodeOrdered, type OrderedDoc } from '../../src/bson/bson.js';
import { comparableOptions } from '../../src/catalog/collection-spec.js';
import { comparableIndex } from '../../src/catalog/index-spec.js';
import { isIgnored } from '../../src/catalog/namespace.js';
import { metadataDatabase } from '../../src/metadata/databases.js';
import type { FakeDeployment } from './deployment.js';
import { timeOf } from './oplog.js';
import { fromRaw, toRaw } from './raw.js';
import type { Doc } from './request.js';
import { FakeCollection, type Spec } from './storage.js';

const METADATA = metadataDatabase(undefined);
const MAX_TOLD = 8;

/** The migration's record as a simulated cluster holds it; undefined: it holds none. */
export function storedRecord(deployment: FakeDeployment): Doc | undefined {
  const [row] = deployment.server.catalog.collection(METADATA, 'migration')?.sorted ?? [];
  return row === undefined ? undefined : fromRaw(row[1].raw);
}

/** How often a migration's direction had been turned around when the record was stored; -1: there is none. */
export function generationOf(record: Doc | undefined): number {
  return record === undefined ? -1 : Number(record['generation'] ?? 0);
}

/** The time as of which a committed migration's destination is its source. */
export function commitTime(record: Doc): number | undefined {
  const time = (record['commit'] as { time?: unknown } | undefined)?.time;
  return time instanceof Timestamp ? timeOf(time) : undefined;
}

/** From when on the destination's changes are its new owner's. */
export function handoverTime(record: Doc): number | undefined {
  const time = (record['commit'] as { reverseStart?: unknown } | undefined)?.reverseStart;
  return time instanceof Timestamp ? timeOf(time) : undefined;
}

/** What differs, one line each; empty when nothing does. */
export function differences(source: FakeDeployment, destination: FakeDeployment, time: number): string[] {
  const there = source.state.oplog.atTime(time, () => picture(source));
  const here = picture(destination);
  const found: string[] = [];
  for (const name of new Set([...there.keys(), ...here.keys()])) {
    const [a, b] = [there.get(name), here.get(name)];
    if (a === undefined) found.push(`${name} is on the destination only`);
    else if (b === undefined) found.push(`${name} is on the source only`);
    else if (a.head !== b.head) found.push(`${name}: ${a.head} became ${b.head}`);
    else found.push(...documentsApart(name, a.documents, b.documents));
  }
  return found.slice(0, MAX_TOLD);
}

interface Pictured {
  /** Options and indexes as a text. */
  readonly head: string;
  readonly documents: readonly Buffer[];
}

function picture({ server }: FakeDeployment): Map<string, Pictured> {
  const pictured = new Map<string, Pictured>();
  for (const db of server.catalog.names) {
    for (const [coll, entry] of server.catalog.entries(db)) {
      if (isIgnored({ db, coll })) continue;
      const isCollection = entry instanceof FakeCollection;
      const options = comparableOptions(ordered(isCollection ? entry.options : entry.viewOptions));
      const indexes = isCollection ? [...entry.indexes.values()].map((spec) => comparableIndex(ordered(spec))) : [];
      const rows = isCollection ? (entry.isCapped ? entry.natural : entry.sorted) : [];
      pictured.set(`${db}.${coll}`, {
        head: [isCollection ? 'collection' : 'view', options, ...indexes.sort()].join(' '),
        documents: rows.map(([, { raw }]) => raw),
      });
    }
  }
  return pictured;
}

function ordered(spec: Spec): OrderedDoc {
  return decodeOrdered(toRaw(spec));
}

function documentsApart(name: string, source: readonly Buffer[], destination: readonly Buffer[]): string[] {
  if (source.length === destination.length && source.every((doc, index) => doc.equals(destination[index] as Buffer)))
    return [];
  const text = (documents: readonly Buffer[], others: readonly Buffer[]): string =>
    documents
      .filter((doc) => !others.some((other) => other.equals(doc)))
      .map((doc) => JSON.stringify(fromRaw(doc)))
      .slice(0, 4)
      .join(', ');
  return [`${name}: source alone: [${text(source, destination)}], destination alone: [${text(destination, source)}]`];
}
