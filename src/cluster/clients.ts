import { randomUUID } from 'node:crypto';
import { MongoClient, type MongoClientOptions } from 'mongodb';
import { AppError, invalidRequest } from '../errors.js';
import type { Logger } from '../lib/logger.js';
import { Code, clusterError, codeOf, safeText } from './errors.js';

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
export function makeClients({ name, uri, maxPoolSize, tag = processTag() }: ConnectOptions): Clients {
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
    return { tag, data: make(maxPoolSize), control: make(8), record: make(RECORD_POOL), structure };
  } catch (error) {
    const description = `the driver does not take the connection string: ${safeText(error)}`;
    throw invalidRequest([{ field: name, description }]);
  }
}

/** Connects all of them, or rejects with the driver's error. */
export async function openClients(clients: Clients): Promise<void> {
  await Promise.all(all(clients).map((each) => each.connect()));
}

/** Never rejects. */
export async function closeClients(clients: Clients): Promise<void> {
  await Promise.allSettled(all(clients).map((each) => each.close()));
}

function all({ data, control, record, structure }: Clients): MongoClient[] {
  return [data, control, record, structure];
}

/** Why there is no connection: MissingPrivilege when the credentials were refused, as a rule ClusterUnreachable. */
export function connectError(name: string, cause: unknown): AppError {
  if (codeOf(cause) === Code.AuthenticationFailed) {
    return new AppError('MissingPrivilege', `${name} refused the credentials of its connection string`, { cause });
  }
  // Names that do not resolve are no errors of a server's; they may the next time.
  return codeOf(cause) === undefined && !(cause instanceof AppError)
    ? new AppError('ClusterUnreachable', `connecting: ${name}: ${safeText(cause)}`, { cause })
    : clusterError(cause, name, 'connecting', 'ClusterUnreachable');
}
