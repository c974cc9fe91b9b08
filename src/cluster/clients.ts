/** Makes the driver's clients of one deployment: separate pools, so that no kind of work starves another. */
import { randomUUID } from 'node:crypto';
import type { MongoClientOptions } from 'mongodb';
import { invalidRequest } from '../errors.js';
import type { Logger } from '../lib/logger.js';
import { leaveOutCompressors } from './connect-errors.js';
import { type DriverClient, type MakeDriverClient, mongoDriverClient } from './driver.js';
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
  /** Makes its clients. Default the driver's. */
  readonly makeClient?: MakeDriverClient | undefined;
}

/** A name by which servers know all connections of this process, besides the one that all of mongoferry's have. */
export function processTag(): string {
  return `mongoferry/${randomUUID()}`;
}

/** The name by which servers know those connections of the process on which structural commands are sent. */
export function structuralTag(tag: string): string {
  return `${tag}/structural`;
}

/** The driver's clients of one deployment: pools of their own, so that none can starve another. */
export interface Clients {
  /** What the server knows their connections by, besides the name that all of mongoferry's have. */
  readonly tag: string;
  readonly data: DriverClient;
  readonly control: DriverClient;
  readonly record: DriverClient;
  /** For what changes the catalog or the write block: it tells which connection each command is sent on. */
  readonly structure: DriverClient;
}

/** Connections for the lease and the migration's record: renewals under way, and what stores besides. */
export const RECORD_POOL = 16;

/** Errors: InvalidRequest; the driver's text names the option, and a value only where that is no secret. */
export function makeClients(options: ConnectOptions): Clients {
  const { name, uri: given, logger, maxPoolSize, tag = processTag(), makeClient = mongoDriverClient } = options;
  const { uri, leftOut } = leaveOutCompressors(given);
  if (leftOut.length > 0)
    logger.warn(`${name}: this program does not support compression by ${leftOut.join(', ')}, and connects without it`);
  const make = (size: number, more: { readonly tag?: string; readonly tellsSent?: boolean } = {}): DriverClient =>
    makeClient(uri, { maxPoolSize: size, tag, tellsSent: false, settings: SETTINGS, ...more });
  try {
    return {
      tag,
      data: make(maxPoolSize),
      control: make(8),
      record: make(RECORD_POOL, { tellsSent: true }),
      structure: make(maxPoolSize, { tellsSent: true, tag: structuralTag(tag) }),
    };
  } catch (error) {
    const description = `the driver refuses the connection string: ${safeText(error)}`;
    throw invalidRequest([{ field: name, description }]);
  }
}

const SETTINGS: MongoClientOptions = {
  appName: 'mongoferry',
  readPreference: 'primary',
  readConcern: { level: 'majority' },
  writeConcern: MAJORITY_WRITE,
  retryReads: true,
  serverSelectionTimeoutMS: 5000,
  connectTimeoutMS: 5000,
  maxConnecting: 8,
};

/** Connects all of them, or rejects with the driver's error. */
export async function openClients(clients: Clients): Promise<void> {
  await Promise.all(all(clients).map((each) => each.connect()));
}

/** Never rejects, and does not wait for a server that does not answer. */
export async function closeClients(clients: Clients): Promise<void> {
  await Promise.allSettled(all(clients).map((each) => each.close()));
}

function all({ data, control, record, structure }: Clients): DriverClient[] {
  return [data, control, record, structure];
}
