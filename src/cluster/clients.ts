import { randomUUID } from 'node:crypto';
import { MongoClient, type MongoClientOptions } from 'mongodb';
import { invalidRequest } from '../errors.js';
import type { Logger } from '../lib/logger.js';
import { settlesWithin } from '../lib/signals.js';
import { leaveOutCompressors } from './connect-errors.js';
import { safeText } from './errors.js';

/** Every write of the engine: a write that a majority has not stored could be lost with its checkpoint kept. */
export const MAJORITY_WRITE = { w: 'majority', j: true } as const;

/** How to connect. */
export interface ConnectOptions {
  /** "cluster0" or "cluster1", for messages. */
  readonly name: string;
  readonly uri: string;
  readonly logger: Logger;
  /** Connections for data; catalog reads and checkpoints have a few of their own, so that data cannot starve them. */
  readonly maxPoolSize: number;
  /** Of the process: what servers know its connections by. Made anew when it is left out. */
  readonly tag?: string;
  /** For how long work that does not go on is tried again, in milliseconds. Default 30 minutes. */
  readonly retryLimitMs?: number;
}

/** A name by which servers know all connections of this process, besides the one that all of mongoferry's have. */
export function processTag(): string {
  return `mongoferry/${randomUUID()}`;
}

/** What servers know those of its connections by that structural commands are sent on. */
export function structuralTag(tag: string): string {
  return `${tag}/structural`;
}

/** The driver's clients of one deployment: pools of their own, so that none can starve another. */
export interface Clients {
  /** What the server knows their connections by, besides the name that all of mongoferry's have. */
  readonly tag: string;
  readonly data: MongoClient;
  readonly control: MongoClient;
  readonly record: MongoClient;
  /** For what changes the catalog or the write block: it tells which connection each command is sent on. */
  readonly structure: MongoClient;
}

/** Connections for the lease and the migration's record: renewals under way, and what stores besides. */
export const RECORD_POOL = 16;

/** Errors: InvalidRequest; the driver's text names the option, and a value only where that is no secret. */
export function makeClients({ name, uri: given, logger, maxPoolSize, tag = processTag() }: ConnectOptions): Clients {
  const { uri, leftOut } = leaveOutCompressors(given);
  if (leftOut.length > 0)
    logger.warn(`${name}: compression by ${leftOut.join(', ')} is not part of this program and is left out`);
  const common: MongoClientOptions = {
    appName: 'mongoferry',
    driverInfo: { platform: tag },
    readPreference: 'primary',
    readConcern: { level: 'majority' },
    writeConcern: MAJORITY_WRITE,
    retryReads: true,
    serverSelectionTimeoutMS: 5000,
    connectTimeoutMS: 5000,
    maxConnecting: 8,
  };
  const make = (size: number, more: MongoClientOptions = {}): MongoClient =>
    new MongoClient(uri, { ...common, maxPoolSize: size, ...more });
  try {
    const structure = make(maxPoolSize, { monitorCommands: true, driverInfo: { platform: structuralTag(tag) } });
    return {
      tag,
      data: make(maxPoolSize),
      control: make(8),
      record: make(RECORD_POOL, { monitorCommands: true }),
      structure,
    };
  } catch (error) {
    const description = `the driver does not take the connection string: ${safeText(error)}`;
    throw invalidRequest([{ field: name, description }]);
  }
}

/** Connects all of them, or rejects with the driver's error. */
export async function openClients(clients: Clients): Promise<void> {
  await Promise.all(all(clients).map((each) => each.connect()));
}

/** Never rejects, and does not wait for a server that does not answer. */
export async function closeClients(clients: Clients): Promise<void> {
  await Promise.allSettled(all(clients).map(closeClient));
}

/**
 * The driver tells the server of the sessions that end, and waits for the answer with all its connections open: they
 * would hold up the end of the process. Of its internals only this one way to break that off; without it, it is waited
 * for.
 */
async function closeClient(client: MongoClient): Promise<void> {
  const closing = client.close();
  if (await settlesWithin(closing, CLOSE_MS)) return closing;
  const { topology } = client as unknown as { topology?: DriverTopology };
  topology?.closeCheckedOutConnections?.();
  topology?.close?.();
  return closing;
}

const CLOSE_MS = 500;

interface DriverTopology {
  closeCheckedOutConnections?(): void;
  close?(): void;
}

function all({ data, control, record, structure }: Clients): MongoClient[] {
  return [data, control, record, structure];
}
