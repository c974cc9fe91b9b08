/** Sends insert, update and delete commands whose documents stay raw BSON. */
import { type Binary, type Doc, decodeOrdered, encode, survivesDecoding } from '../bson/bson.js';
import { Code, isTransient, safeText } from '../cluster/errors.js';
import type { WritableCluster } from '../cluster/writable-cluster.js';
import { AppError } from '../errors.js';
import { type Documents, eachOf } from './documents-to-write.js';
import { loadDriverMessages, type SequenceClass } from './driver-messages.js';
import { RawBatch } from './raw-batch.js';

/** A statement the server refused; the others of an unordered command were carried out. */
export interface WriteError {
  readonly index: number;
  readonly code: number;
  /** Of a duplicate key: the index's fields. */
  readonly keyPattern: Doc | undefined;
  readonly text: string;
}

/** One insert, update or delete command of raw statements. */
export interface RawWrite {
  readonly db: string;
  readonly coll: string;
  readonly kind: 'insert' | 'update' | 'delete';
  /** Documents, or update/delete statements, as raw BSON; at most 100,000 of them and 48 MB. */
  readonly statements: Documents;
  readonly ordered: boolean;
  /** Guards against another collection of the same name (6.0 and later). */
  readonly uuid: Binary | undefined;
}

const FIRST_KEY_STRING_ERROR = 50_800;
const LAST_KEY_STRING_ERROR = 50_899;

const FIELD = { insert: 'documents', update: 'updates', delete: 'deletes' } as const;

/** Sends raw BSON to a cluster as insert, update and delete commands. */
export class RawWriter {
  readonly #cluster: WritableCluster;
  readonly #sequence: SequenceClass | undefined;

  private constructor(cluster: WritableCluster, sequence: SequenceClass | undefined) {
    this.#cluster = cluster;
    this.#sequence = sequence;
  }

  /**
   * A writer with the pass-through if the probe finds it working: a delete of nothing, whose statement goes as a raw
   * sequence. `passThrough: false` forces the ordinary path.
   */
  static async create(
    cluster: WritableCluster,
    probeDb: string,
    signal: AbortSignal,
    passThrough = true,
  ): Promise<RawWriter> {
    const messages = passThrough ? await loadDriverMessages() : undefined;
    if (messages === undefined) return new RawWriter(cluster, undefined);
    const writer = new RawWriter(cluster, messages.Sequence);
    messages.copyLess();
    if (await writer.#works(probeDb, signal)) return writer;
    messages.copyAsBefore();
    if (await writer.#works(probeDb, signal)) return writer;
    return new RawWriter(cluster, undefined);
  }

  async #works(probeDb: string, signal: AbortSignal): Promise<boolean> {
    try {
      const nothing = encode({ q: { _id: 'probe' }, limit: 1 });
      const probe = { db: probeDb, coll: 'probe', kind: 'delete', statements: [nothing], ordered: true } as const;
      await this.write({ ...probe, uuid: undefined }, signal);
      return true;
    } catch (error) {
      // An outage says nothing about the driver.
      if (error instanceof AppError || isTransient(error)) throw error;
      return false;
    }
  }

  /** Whether raw bytes pass through as they are; otherwise they are decoded and encoded, document by document. */
  get passesThrough(): boolean {
    return this.#sequence !== undefined;
  }

  /**
   * One command, once. Resolves with the refused statements; rejects with the driver's error when the command as a
   * whole failed or a majority did not confirm it. Errors of its own: DocumentNotCarried, without the pass-through, when
   * a document does not survive decoding and encoding.
   */
  async write(write: RawWrite, signal: AbortSignal): Promise<WriteError[]> {
    const command: Doc = {
      [write.kind]: write.coll,
      ordered: write.ordered,
      ...(write.kind === 'delete' ? {} : { bypassDocumentValidation: true }),
      ...(write.uuid === undefined ? {} : { collectionUUID: write.uuid }),
      [FIELD[write.kind]]: this.#payload(write),
    };
    const reply = await this.#cluster.write(write.db, command, { signal, statements: write.statements.length });
    return ((reply['writeErrors'] as Doc[] | undefined) ?? []).map(toWriteError);
  }

  #payload(write: RawWrite): unknown {
    if (this.#sequence !== undefined) {
      const sequence = new this.#sequence(FIELD[write.kind]);
      // A sequence is its documents' bytes, one after the other: they may come in larger pieces.
      const { statements } = write;
      for (const part of statements instanceof RawBatch ? statements.pieces() : statements) sequence.push(null, part);
      return sequence;
    }
    return eachOf(write.statements).map((statement) => {
      if (!survivesDecoding(statement)) {
        throw new AppError(
          'DocumentNotCarried',
          `a document of ${write.db}.${write.coll} cannot be decoded and encoded without change, and this driver has no raw pass-through`,
        );
      }
      return decodeOrdered(statement);
    });
  }
}

function toWriteError(error: Doc): WriteError {
  return {
    index: Number(error['index']),
    code: Number(error['code']),
    keyPattern: error['keyPattern'] as Doc | undefined,
    text: safeText(String(error['errmsg'])),
  };
}

/**
 * Whether an insert was refused because its `_id` is there; by the pattern, since texts differ between versions. In a
 * clustered collection the server fails to word that error when the `_id` is a Decimal, and gives one of its "KeyString
 * format error" codes instead (50810, 50825, … on 6.0.5). The caller deletes and inserts again, so a wrong guess is
 * found out at once.
 */
export function isDuplicateId(error: WriteError): boolean {
  if (error.code >= FIRST_KEY_STRING_ERROR && error.code <= LAST_KEY_STRING_ERROR) return true;
  return (
    error.code === Code.DuplicateKey && error.keyPattern !== undefined && Object.keys(error.keyPattern).join() === '_id'
  );
}
