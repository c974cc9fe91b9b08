/** The errors that the router double answers with: its own, and those that a shard answered. */
import { Double } from 'mongodb';
import { type Doc, doc, type Encodable, type Fields, numberOf, textOf } from './raw-values.js';

/** An error of the router's own, with what the server calls its code. */
export class RouterError extends Error {
  override readonly name = 'RouterError';

  constructor(
    readonly code: number,
    readonly codeName: string,
    message: string,
    /** Further fields of the answer, e.g. `errorLabels`. */
    readonly extra: Readonly<Record<string, Encodable>> = {},
  ) {
    super(message);
  }

  /** As a command's answer. The server's answer of `replSetGetStatus` alone has no code: 0 stands for that. */
  reply(): Doc {
    const code = this.code === 0 ? {} : { code: this.code, codeName: this.codeName };
    return doc({ ok: new Double(0), errmsg: this.message, ...code, ...this.extra });
  }
}

/** A shard's answer that says that a command failed, to be passed on unless the router can do something about it. */
export class ShardError extends Error {
  override readonly name = 'ShardError';
  readonly code: number;

  constructor(
    readonly answer: Fields,
    readonly shard: string,
  ) {
    super(textOf(answer.get('errmsg')) ?? 'a shard failed without a message');
    this.code = numberOf(answer.get('code')) ?? 0;
  }
}

/** The database was dropped through another router meanwhile: the command begins anew. */
export class DatabaseGone extends Error {
  override readonly name = 'DatabaseGone';
}

/** StaleConfig, StaleShardVersion, StaleDbVersion, ShardInvalidatedForTargeting, StaleEpoch. */
const STALE: readonly number[] = [13388, 63, 249, 234, 150];

/** Whether the code tells that the router's knowledge of chunks or databases is out of date. */
export function isStale(code: number): boolean {
  return STALE.includes(code);
}

/** Codes of passing failures of a server. Source: the driver specification of retryable writes. */
const PASSING: readonly number[] = [6, 7, 89, 91, 189, 9001, 10107, 11600, 11602, 13435, 13436];

/** Whether a write that failed so may be tried again. */
export function isRetryableWrite(code: number): boolean {
  return PASSING.includes(code) || code === 262;
}

/** Whether a change stream that failed so may be resumed. Source: the driver specification of change streams. */
export function isResumable(code: number): boolean {
  return PASSING.includes(code) || code === 43 || code === 234;
}

/** `no such command`, as the server says it. */
export function noSuchCommand(name: string): RouterError {
  return new RouterError(59, 'CommandNotFound', `no such command: '${name}'`);
}

/** The database or collection is not there. */
export function namespaceNotFound(message = 'ns not found'): RouterError {
  return new RouterError(26, 'NamespaceNotFound', message);
}
