/** Builds replies of cursors as servers send them: raw BSON. */
import { BSON, Long } from 'mongodb';
import { documentOfFields, fieldOf } from '../../src/bson/raw-document.js';

const TYPE = { document: 3, array: 4 } as const;

/** A raw array of raw documents. */
export function rawArray(documents: readonly Buffer[]): Buffer {
  return documentOfFields(...documents.map((each, index) => fieldOf(String(index), TYPE.document, each)));
}

/** What a cursor is said to be. */
export interface RawCursor {
  /** Default: it is at its end. */
  readonly id?: Long;
  readonly ns?: string;
  readonly batch: readonly Buffer[];
  /** Default: the first batch. */
  readonly isNext?: boolean;
  readonly postBatchResumeToken?: object | undefined;
}

/** The `cursor` of a reply. */
export function rawCursor({ id = Long.ZERO, ns = '', batch, isNext = false, postBatchResumeToken }: RawCursor): Buffer {
  const name = isNext ? 'nextBatch' : 'firstBatch';
  const array = fieldOf(name, TYPE.array, rawArray(batch));
  const others = BSON.serialize({ id, ns, postBatchResumeToken }, { ignoreUndefined: true });
  return documentOfFields(array, Buffer.from(others.subarray(4, -1)));
}
