import { AppError } from '../errors.js';
import { metrics } from '../metrics.js';
import type { Binary } from './bson.js';
import type { Cluster } from './cluster.js';
import { Code } from './errors.js';
import { type Namespace, nsText } from './namespace.js';
import { holdsEmptyTimestamp, idDocument } from './raw-document.js';
import { deleteStatement, literalReplaceStatement } from './raw-statements.js';
import { isDuplicateId, type RawWriter, type WriteError } from './raw-writes.js';

/** A collection on the destination, by name and UUID. */
export interface WriteTarget {
  readonly ns: Namespace;
  readonly uuid: Binary;
}

/** Bounds of one command: the server takes 48,000,000 bytes and 100,000 statements. */
const MAX_BATCH_BYTES = 20_000_000;
const MAX_BATCH_STATEMENTS = 50_000;
const MAX_REPLACE_TRIES = 5;

/** Statements of one kind, in commands that the server takes. */
export function* batches(statements: readonly Buffer[]): Generator<Buffer[]> {
  let batch: Buffer[] = [];
  let bytes = 0;
  for (const each of statements) {
    if (batch.length > 0 && (bytes + each.length > MAX_BATCH_BYTES || batch.length >= MAX_BATCH_STATEMENTS)) {
      yield batch;
      batch = [];
      bytes = 0;
    }
    batch.push(each);
    bytes += each.length;
  }
  if (batch.length > 0) yield batch;
}

/** Writes whole documents to the destination, retried while errors are transient. All methods are idempotent by `_id`. */
export class DocumentWriter {
  readonly #cluster: Cluster;
  readonly #raw: RawWriter;

  constructor(cluster: Cluster, raw: RawWriter) {
    this.#cluster = cluster;
    this.#raw = raw;
  }

  /** Sends statements, split into commands; resolves with the refused ones, indexes as in `statements`. */
  async send(
    target: WriteTarget,
    kind: 'insert' | 'update' | 'delete',
    statements: readonly Buffer[],
    ordered: boolean,
    signal: AbortSignal,
  ): Promise<WriteError[]> {
    const refused: WriteError[] = [];
    let offset = 0;
    for (const batch of batches(statements)) {
      const errors = await this.#cluster.attempt(`${kind} into ${nsText(target.ns)}`, signal, () => {
        return this.#raw.write({
          ...target.ns,
          coll: target.ns.coll,
          kind,
          statements: batch,
          ordered,
          uuid: target.uuid,
        });
      });
      for (const error of errors) {
        refuseLostTarget(target, error);
        refused.push({ ...error, index: error.index + offset });
      }
      if (ordered && errors.length > 0) return refused;
      offset += batch.length;
    }
    return refused;
  }

  /**
   * Makes these documents, as they are, the ones with their `_id`s. No two may have the same `_id`. A document that is
   * there already is deleted and inserted: a replacement would keep the old bytes of an equal `_id` (1 and 1.0) and
   * refuse one that is only equal by collation.
   */
  async put(target: WriteTarget, documents: readonly Buffer[], signal: AbortSignal): Promise<void> {
    const plain: Buffer[] = [];
    const special: Buffer[] = [];
    for (const doc of documents) (holdsEmptyTimestamp(doc) ? special : plain).push(doc);
    if (plain.length > 0) {
      const refused = await this.send(target, 'insert', plain, false, signal);
      const again = duplicatesOf(target, plain, refused);
      if (again.length > 0) await this.#replace(target, again, signal);
    }
    if (special.length > 0) await this.#putSpecial(target, special, signal);
  }

  /** As `put`, but each document goes to the end, in the order given: for capped collections, where order is data. */
  async append(target: WriteTarget, documents: readonly Buffer[], signal: AbortSignal): Promise<void> {
    let rest = documents;
    while (rest.length > 0) {
      const until = rest.findIndex(holdsEmptyTimestamp);
      const run = until < 0 ? rest : rest.slice(0, Math.max(1, until));
      if (until === 0) await this.#putSpecial(target, run, signal);
      else await this.#appendPlain(target, run, signal);
      rest = rest.slice(run.length);
    }
  }

  /** Where one document is there already most others are (a replay): all that are left go, then come back in order. */
  async #appendPlain(target: WriteTarget, documents: readonly Buffer[], signal: AbortSignal): Promise<void> {
    let rest = documents;
    for (;;) {
      const [error] = await this.send(target, 'insert', rest, true, signal);
      if (error === undefined) return;
      if (!isDuplicateId(error)) throw refusedError(target, error);
      rest = rest.slice(error.index);
      await this.#delete(target, rest, signal);
    }
  }

  /** Again where the first answer was lost: what it left is deleted and inserted once more, never taken for granted. */
  async #replace(target: WriteTarget, documents: readonly Buffer[], signal: AbortSignal): Promise<void> {
    metrics.duplicateKeys.add(documents.length);
    let rest = documents;
    for (let tries = 1; ; tries++) {
      await this.#delete(target, rest, signal);
      const refused = await this.send(target, 'insert', rest, false, signal);
      if (refused[0] === undefined) return;
      if (tries >= MAX_REPLACE_TRIES) throw refusedError(target, refused[0]);
      rest = duplicatesOf(target, rest, refused);
    }
  }

  async #putSpecial(target: WriteTarget, documents: readonly Buffer[], signal: AbortSignal): Promise<void> {
    await this.#delete(target, documents, signal);
    const refused = await this.send(
      target,
      'update',
      documents.map((doc) => literalReplaceStatement(keyOf(doc), doc)),
      true,
      signal,
    );
    if (refused[0] !== undefined) throw refusedError(target, refused[0]);
  }

  async #delete(target: WriteTarget, documents: readonly Buffer[], signal: AbortSignal): Promise<void> {
    const refused = await this.send(
      target,
      'delete',
      documents.map((doc) => deleteStatement(keyOf(doc))),
      false,
      signal,
    );
    if (refused[0] !== undefined) throw refusedError(target, refused[0]);
  }
}

/** The documents whose `_id` was there already; any other refusal is fatal. */
function duplicatesOf(target: WriteTarget, documents: readonly Buffer[], refused: readonly WriteError[]): Buffer[] {
  return refused.map((error) => {
    if (!isDuplicateId(error)) throw refusedError(target, error);
    return documents[error.index] as Buffer;
  });
}

function keyOf(doc: Buffer): Buffer {
  const key = idDocument(doc);
  if (key === undefined) throw new AppError('DocumentNotCarried', 'a document without _id cannot be migrated');
  return key;
}

/** The error for a statement that the destination will never take. */
export function refusedError(target: WriteTarget, error: WriteError): AppError {
  return new AppError(
    'WriteRefused',
    `the destination refuses a document of ${nsText(target.ns)}: ${error.text} (code ${error.code})`,
  );
}

function refuseLostTarget(target: WriteTarget, error: WriteError): void {
  if (error.code === Code.CollectionUUIDMismatch) {
    throw new AppError(
      'DestinationModified',
      `${nsText(target.ns)} on the destination was dropped, renamed or created anew by someone else during the migration`,
    );
  }
}
