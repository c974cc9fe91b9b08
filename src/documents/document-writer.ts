/** Writes whole documents to the destination so that a repeated write does no harm. */
import type { Binary } from '../bson/bson.js';
import { documentQuery, type KeyPaths } from '../bson/key-query.js';
import { holdsEmptyTimestamp, holdsEmptyTimestampAt, idDocument } from '../bson/raw-document.js';
import { deleteStatement, literalReplaceStatement } from '../bson/raw-statements.js';
import { type Namespace, nsText } from '../catalog/namespace.js';
import type { Cluster } from '../cluster/cluster.js';
import { Code, isDocumentFault, isTransientCode, statementError } from '../cluster/errors.js';
import { AppError } from '../errors.js';
import { metrics } from '../metrics.js';
import { commandsOf, type Documents, eachOf } from './documents-to-write.js';
import { RawBatch } from './raw-batch.js';
import { isDuplicateId, type RawWriter, type WriteError } from './raw-writes.js';
import { findStored } from './stored-documents.js';

/** A collection on the destination, by name and UUID. */
export interface WriteTarget {
  readonly ns: Namespace;
  readonly uuid: Binary;
  /** By which fields it is sharded on either side. */
  readonly keyPaths: KeyPaths;
}

/** Whether an `_id` may name several documents, or one that has another place by now: a shard knows its own `_id`s only. */
export function isSpread({ source, destination }: KeyPaths): boolean {
  return [...source, ...destination].some((path) => path !== '_id');
}

/**
 * Whether a document that has the `_id` of one to be written may be another one, which must not go for it: the source's
 * shards may each have one, and the destination can have it once. Only the source can say.
 */
function isAmbiguous(target: Pick<WriteTarget, 'keyPaths'>): boolean {
  return isSpread(target.keyPaths) && target.keyPaths.destination.length === 0;
}

/** A document that the destination does not take, and why. */
export interface Refusal {
  readonly document: Buffer;
  readonly error: WriteError;
}

/** Drops the secondary indexes of a target; they are built again later. */
export type RemoveIndexes = (target: Pick<WriteTarget, 'ns' | 'uuid'>, signal: AbortSignal) => Promise<void>;

const MAX_REPLACE_TRIES = 5;

/** Statements of one kind, as raw BSON. */
export interface Statements {
  readonly kind: 'insert' | 'update' | 'delete';
  readonly statements: Documents;
  /** One after the other, and none after one that is refused. Default: in any order, all of them. */
  readonly ordered?: boolean;
}

/** Writes whole documents to the destination, retried while errors are transient. All methods are idempotent by `_id`. */
export class DocumentWriter {
  readonly #cluster: Cluster;
  readonly #raw: Pick<RawWriter, 'write'>;
  readonly #removeIndexes: RemoveIndexes;

  /**
   * `cluster` is the destination, which is only read: what writes is `raw`. `removeIndexes` drops the secondary indexes of
   * a target and sees to it that they are built again.
   */
  constructor(cluster: Cluster, raw: Pick<RawWriter, 'write'>, removeIndexes: RemoveIndexes) {
    this.#cluster = cluster;
    this.#raw = raw;
    this.#removeIndexes = removeIndexes;
  }

  /**
   * Sends statements, split into commands; resolves with the refused ones, indexes as in `statements`. Those refused for
   * the server's own condition are tried again first, for as long as any command is. A batch that was taken as a whole is
   * used up: its memory is given back.
   */
  async send(
    target: WriteTarget,
    { kind, statements, ordered = false }: Statements,
    signal: AbortSignal,
  ): Promise<WriteError[]> {
    const refused: WriteError[] = [];
    let offset = 0;
    for (const batch of commandsOf(statements)) {
      let tries = 0;
      const errors = await this.#cluster.attempt(`${kind} into ${nsText(target.ns)}`, signal, async () => {
        tries++;
        const write = { ...target.ns, kind, statements: batch, ordered, uuid: target.uuid };
        const refusals = await this.#raw.write(write, signal);
        // What says nothing of its statement is sent again, and the others, which are idempotent, with it.
        const passing = refusals.find(({ code }) => isTransientCode(code));
        if (passing !== undefined) throw refusedError(target, passing);
        return refusals;
      });
      // The server has read all of it before it answered. A connection that was given up may still hold what it had to send.
      if (tries === 1 && errors.length === 0 && batch instanceof RawBatch) batch.free();
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
   * refuse one that is only equal by collation. Resolves with the documents that an index does not take, and with those
   * that only the source can judge: see `isAmbiguous`. Errors:
   * DocumentNotCarried for one without `_id`; DestinationModified when the collection is gone or another one.
   */
  async put(target: WriteTarget, documents: Documents, signal: AbortSignal): Promise<Refusal[]> {
    const { plain, special } = bySpecial(documents);
    const refusals: Refusal[] = [];
    if (plain.length > 0) {
      const refused = await this.send(target, { kind: 'insert', statements: plain }, signal);
      if (refused.length === 0 && special.length === 0) return refusals;
      const each = eachOf(plain);
      const outcome = sortRefused(each, refused);
      refusals.push(...outcome.refusals);
      if (outcome.duplicates.length > 0 && isAmbiguous(target))
        refusals.push(...(await this.#differing(target, each, refused.filter(isDuplicateId), signal)));
      else if (outcome.duplicates.length > 0)
        refusals.push(...(await this.#replace(target, outcome.duplicates, signal)));
    }
    if (special.length > 0) refusals.push(...(await this.#putSpecial(target, special, signal)));
    return refusals;
  }

  /**
   * As `put` for documents that are as the source has them now: an index that does not take one is out of date (the
   * source has dropped it meanwhile), so the target's indexes are removed and built again later.
   * Errors: WriteRefused when it is refused all the same; CommandRefused for what is neither the document's nor an
   * index's fault; DuplicateIds as `putUnlessTaken` resolves with.
   */
  async putSurely(target: WriteTarget, documents: Documents, signal: AbortSignal): Promise<void> {
    const taken = await this.putUnlessTaken(target, documents, signal);
    if (taken.length > 0) throw duplicateIds(target);
  }

  /**
   * As `putSurely`, but resolves with the documents that another one of the same `_id` keeps out: with a sharded source,
   * whose shards may each have one, or which has moved one from shard to shard while it was read.
   */
  async putUnlessTaken(target: WriteTarget, documents: Documents, signal: AbortSignal): Promise<Buffer[]> {
    const isTaken = ({ error }: Refusal): boolean => target.keyPaths.source.length > 0 && isDuplicateId(error);
    const first = await this.put(target, documents, signal);
    const others = first.filter((each) => !isTaken(each));
    const taken = first.filter(isTaken).map((each) => each.document);
    if (others.length === 0) return taken;
    await this.#makeWay(target, others, signal);
    const again = others.map((each) => each.document);
    for (const still of await this.put(target, again, signal)) {
      if (!isTaken(still)) throw refusedError(target, still.error);
      taken.push(still.document);
    }
    return taken;
  }

  /**
   * As `putSurely`, but each document goes to the end, in the order given: for capped collections, where order is data.
   */
  async append(target: WriteTarget, documents: readonly Buffer[], signal: AbortSignal): Promise<void> {
    let rest = documents;
    while (rest.length > 0) {
      const until = rest.findIndex(holdsEmptyTimestamp);
      const run = until < 0 ? rest : rest.slice(0, Math.max(1, until));
      if (until === 0) await this.putSurely(target, run, signal);
      else await this.#appendPlain(target, run, signal);
      rest = rest.slice(run.length);
    }
  }

  /** Where one document is there already most others are (a replay): all that are left go, then come back in order. */
  async #appendPlain(target: WriteTarget, documents: readonly Buffer[], signal: AbortSignal): Promise<void> {
    let rest = documents;
    let withoutIndexes = false;
    for (let tries = 1; ; tries++) {
      const [error] = await this.send(target, { kind: 'insert', statements: rest, ordered: true }, signal);
      if (error === undefined) return;
      if (error.index > 0) tries = 1;
      if (tries > MAX_REPLACE_TRIES) throw refusedError(target, error);
      rest = rest.slice(error.index);
      if (isDuplicateId(error)) await this.#delete(target, rest, signal);
      else if (withoutIndexes) throw refusedError(target, error);
      else {
        await this.#makeWay(target, [{ error }], signal);
        withoutIndexes = true;
      }
    }
  }

  /**
   * As `putSurely`, but documents that are there keep their place, in the order given: for capped collections, too, where
   * a document was changed and its place is data.
   */
  async replaceInPlace(target: WriteTarget, documents: readonly Buffer[], signal: AbortSignal): Promise<void> {
    let rest = documents;
    for (let withoutIndexes = false; ; withoutIndexes = true) {
      const statements = rest.map((doc) => literalReplaceStatement(keyOf(doc), doc));
      const [error] = await this.send(target, { kind: 'update', statements, ordered: true }, signal);
      if (error === undefined) return;
      if (withoutIndexes) throw refusedError(target, error);
      await this.#makeWay(target, [{ error }], signal);
      rest = rest.slice(error.index);
    }
  }

  /** Deletes the documents with these `_id`s (raw `{_id: …}`), on every shard. */
  async clear(target: WriteTarget, ids: readonly Buffer[], signal: AbortSignal): Promise<void> {
    const refused = await this.send(target, { kind: 'delete', statements: ids.map(deleteStatement) }, signal);
    if (refused[0] !== undefined) throw refusedError(target, refused[0]);
  }

  /** Indexes fall for what they may have refused, and for nothing else. */
  async #makeWay(target: WriteTarget, refused: readonly Pick<Refusal, 'error'>[], signal: AbortSignal): Promise<void> {
    const other = refused.find(({ error }) => !isDocumentFault(error.code));
    if (other !== undefined) throw refusedError(target, other.error);
    await this.#removeIndexes(target, signal);
  }

  /** Those that a majority does not have as they are. They stay refused: see `isAmbiguous`. */
  async #differing(
    target: WriteTarget,
    documents: readonly Buffer[],
    errors: readonly WriteError[],
    signal: AbortSignal,
  ): Promise<Refusal[]> {
    metrics.duplicateKeys.add(errors.length);
    const refusals = errors.map((error) => ({ document: documents[error.index] as Buffer, error }));
    const wanted = refusals.map(({ document }) => document);
    const others = new Set(
      (await findStored(this.#cluster, target, { documents: wanted, isRun: false }, signal)).others,
    );
    return refusals.filter(({ document }) => others.has(document));
  }

  /**
   * Only those that a majority does not have as they are: what an interrupted attempt has written is there. Again where
   * the first answer was lost: what it left is looked at once more, never taken for granted.
   */
  async #replace(target: WriteTarget, documents: readonly Buffer[], signal: AbortSignal): Promise<Refusal[]> {
    metrics.duplicateKeys.add(documents.length);
    const refusals: Refusal[] = [];
    let rest = documents;
    for (let tries = 1; ; tries++) {
      rest = (await findStored(this.#cluster, target, { documents: rest, isRun: false }, signal)).others;
      if (rest.length === 0) return refusals;
      await this.#delete(target, rest, signal);
      const refused = await this.send(target, { kind: 'insert', statements: rest }, signal);
      if (refused[0] !== undefined && tries >= MAX_REPLACE_TRIES) throw refusedError(target, refused[0]);
      // One that another document with the same `_id` keeps out, on the shard that both belong to.
      if (target.keyPaths.source.length > 0)
        return refused.map((error) => ({ document: rest[error.index] as Buffer, error }));
      const outcome = sortRefused(rest, refused);
      refusals.push(...outcome.refusals);
      rest = outcome.duplicates;
    }
  }

  async #putSpecial(target: WriteTarget, documents: readonly Buffer[], signal: AbortSignal): Promise<Refusal[]> {
    await this.#delete(target, documents, signal);
    const statements = documents.map((doc) => literalReplaceStatement(newPlaceOf(target, doc), doc));
    const refused = await this.send(target, { kind: 'update', statements }, signal);
    return refused.map((error) => ({ document: documents[error.index] as Buffer, error }));
  }

  async #delete(target: WriteTarget, documents: readonly Buffer[], signal: AbortSignal): Promise<void> {
    const statements = documents.map((doc) => deleteStatement(placeOf(target, doc)));
    const refused = await this.send(target, { kind: 'delete', statements }, signal);
    if (refused[0] !== undefined) throw refusedError(target, refused[0]);
  }
}

/** Documents that a plain insert keeps as they are, and the others. */
function bySpecial(documents: Documents): { readonly plain: Documents; readonly special: readonly Buffer[] } {
  if (documents instanceof RawBatch && !documents.some(holdsEmptyTimestampAt)) return { plain: documents, special: [] };
  const plain: Buffer[] = [];
  const special: Buffer[] = [];
  for (const doc of eachOf(documents)) (holdsEmptyTimestamp(doc) ? special : plain).push(doc);
  return { plain, special };
}

/** Those whose `_id` was there already, and those that were refused for another reason. */
function sortRefused(
  documents: readonly Buffer[],
  refused: readonly WriteError[],
): { readonly duplicates: Buffer[]; readonly refusals: Refusal[] } {
  const duplicates: Buffer[] = [];
  const refusals: Refusal[] = [];
  for (const error of refused) {
    const document = documents[error.index] as Buffer;
    if (isDuplicateId(error)) duplicates.push(document);
    else refusals.push({ document, error });
  }
  return { duplicates, refusals };
}

function keyOf(doc: Buffer): Buffer {
  const key = idDocument(doc);
  if (key === undefined) throw new AppError('DocumentNotCarried', 'a document without _id cannot be migrated');
  return key;
}

/**
 * What names a document on the destination. Where both sides are sharded, the whole key: another document with the same
 * `_id` may be on another shard. Elsewhere the `_id` alone: one that was written with another key value must go.
 */
function placeOf({ keyPaths: { source, destination } }: WriteTarget, doc: Buffer): Buffer {
  const id = keyOf(doc);
  return source.length > 0 && destination.length > 0 ? documentQuery(doc, destination) : id;
}

/** As above, for a document that may be inserted there: a mongos must know where to. */
function newPlaceOf({ keyPaths: { destination } }: WriteTarget, doc: Buffer): Buffer {
  return destination.length > 0 ? documentQuery(doc, destination) : keyOf(doc);
}

/** The error of documents that the destination cannot keep apart. */
export function duplicateIds(target: WriteTarget): AppError {
  return new AppError(
    'DuplicateIds',
    `the source has several documents with one _id in ${nsText(target.ns)}, on different shards, and on the destination they would be on one. Give each an _id of its own, and start a new migration`,
  );
}

/** The error for a refused statement: WriteRefused only where the destination will never take it. */
export function refusedError(target: WriteTarget, error: WriteError): Error {
  return statementError(`the destination refuses a document of ${nsText(target.ns)}`, error);
}

function refuseLostTarget(target: WriteTarget, error: WriteError): void {
  if (error.code === Code.ShardKeyNotFound && target.keyPaths.destination.length > 0) {
    throw new AppError(
      'ShardKeyValueRefused',
      `a document of ${nsText(target.ns)} has a value in a field of the shard key that no shard takes, such as an array: ${error.text}. Change it on the source, or start a new migration with another shard key`,
    );
  }
  if (error.code === Code.CollectionUUIDMismatch) {
    throw new AppError(
      'DestinationModified',
      `someone else dropped, renamed or recreated ${nsText(target.ns)} on the destination during the migration`,
    );
  }
}
