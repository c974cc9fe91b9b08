/** Compares a range of a collection on both sides. */
import { Binary, type Doc, decodeOrdered, type OrderedDoc, Timestamp } from '../bson/bson.js';
import type { Cluster } from '../cluster/cluster.js';
import { isMoved } from '../cluster/errors.js';
import { DocumentFilter, type DocumentFilterSpec } from '../documents/document-filter.js';
import type { RawBatch } from '../documents/raw-batch.js';
import { rawBatches } from '../documents/raw-cursor.js';
import type { Pair } from './compare-ids.js';
import { type MatchEvents, matchDocuments } from './match.js';

/** One side of a range: where it is read, and not before which time. Plain data. */
export interface RangeSide {
  readonly db: string;
  readonly coll: string;
  /** 16 bytes; undefined before 6.0. */
  readonly uuid: Uint8Array | undefined;
  /** Seconds and increment. */
  readonly after: readonly [number, number] | undefined;
  /** Whether it is spread over shards, whose documents come in no order but the one that is asked for. */
  readonly isSharded: boolean;
}

/** A range to compare, as plain data: it may be handed to a thread. */
export interface RangeScan {
  readonly source: RangeSide;
  readonly destination: RangeSide;
  /** Raw `{_id: …}`. */
  readonly lower: Uint8Array | undefined;
  readonly upper: Uint8Array | undefined;
  readonly batchDocuments: number;
  /** Which of the source's documents count; undefined: all. */
  readonly filter: DocumentFilterSpec | undefined;
}

/** Compares ranges. */
export interface RangeScanner {
  /** `moved`: a collection was renamed or dropped meanwhile, and the scan must begin anew under its new name. */
  scan(scan: RangeScan, events: MatchEvents, signal: AbortSignal): Promise<'compared' | 'moved'>;
  close(): Promise<void>;
}

/** Compares ranges in this thread; goes on after transient errors by beginning the range again. */
export class LocalRangeScanner implements RangeScanner {
  readonly #pair: Pair;

  constructor(pair: Pair) {
    this.#pair = pair;
  }

  async scan(scan: RangeScan, events: MatchEvents, signal: AbortSignal): Promise<'compared' | 'moved'> {
    let read = { source: 0, destination: 0 };
    const takeBack = (): void => {
      events.onRead(-read.source, -read.destination);
      read = { source: 0, destination: 0 };
    };
    const counted: MatchEvents = {
      onDiffering: events.onDiffering,
      onRead: (source, destination) => {
        read = { source: read.source + source, destination: read.destination + destination };
        events.onRead(source, destination);
      },
    };
    try {
      await this.#pair.source.attempt(`comparing ${scan.source.db}.${scan.source.coll}`, signal, async () => {
        takeBack();
        await scanOnce(this.#pair, scan, counted, signal);
      });
      return 'compared';
    } catch (error) {
      if (!isMoved(error)) throw error;
      takeBack();
      return 'moved';
    }
  }

  async close(): Promise<void> {
    // The clusters are its owner's.
    await Promise.resolve();
  }
}

async function scanOnce(pair: Pair, scan: RangeScan, events: MatchEvents, signal: AbortSignal): Promise<void> {
  const filter = scan.filter === undefined ? {} : new DocumentFilter(scan.filter).query();
  const source = readRange(pair.source, scan.source, { ...scan, filter }, signal);
  const destination = readRange(pair.destination, scan.destination, { ...scan, filter: {} }, signal);
  try {
    await matchDocuments(source, destination, events);
  } finally {
    await Promise.allSettled([source.return(undefined), destination.return(undefined)]);
  }
}

function readRange(
  cluster: Cluster,
  side: RangeSide,
  { lower, upper, batchDocuments, filter }: Omit<RangeScan, 'filter'> & { readonly filter: Doc | OrderedDoc },
  signal: AbortSignal,
): AsyncGenerator<RawBatch> {
  const after =
    side.after === undefined ? {} : { afterClusterTime: new Timestamp({ t: side.after[0], i: side.after[1] }) };
  const command: Doc = {
    find: side.coll,
    filter,
    hint: { _id: 1 },
    ...(side.isSharded ? { sort: { _id: 1 } } : {}),
    ...(lower === undefined ? {} : { min: decodeOrdered(lower) }),
    ...(upper === undefined ? {} : { max: decodeOrdered(upper) }),
    batchSize: batchDocuments,
    ...(side.uuid === undefined ? {} : { collectionUUID: new Binary(side.uuid, Binary.SUBTYPE_UUID) }),
    readConcern: { level: 'majority', ...after },
  };
  return rawBatches(cluster, { db: side.db, command, batchSize: batchDocuments }, signal);
}
