/** Packs operations for their way to a thread: all their bytes in one buffer, and a few numbers for each. */

import { documentKey, idOfKey } from '../bson/document-key.js';
import { uuidBytes, uuidFrom } from '../bson/uuid.js';
import { AppError } from '../errors.js';
import type { AppliedCollection, Operation } from './operation.js';

const KINDS = ['put', 'replace', 'delta', 'delete', 'refetch'] as const satisfies readonly Operation['kind'][];
/** Numbers of each operation: its kind, its collection, its key's bytes, how many contents it has. */
const NUMBERS = 4;

/** A collection, with its UUID as 16 bytes. */
export type PlainCollection = Omit<AppliedCollection, 'destinationUuid'> & { readonly uuid: Uint8Array | undefined };

/**
 * Operations as plain data that survives structured clone. Its two buffers are its own, and may be handed over.
 *
 * One buffer for all: an operation's bytes are a small part of a large reply, and a view would cross with the whole of
 * it; and thousands of small objects cost far more to clone than their bytes.
 */
export interface OperationBatch {
  /** Each once; `numbers` refer to them by index. */
  readonly collections: readonly PlainCollection[];
  /** Of each operation: the kind, the collection, the bytes of its whole key, the number of contents, the bytes of each of them. */
  readonly numbers: Uint32Array<ArrayBuffer>;
  /** Of each operation in turn: its whole key, the document or delta, the further deltas. */
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** Copies operations into a batch. */
export function packOperations(operations: readonly Operation[]): OperationBatch {
  const indexes = new Map<AppliedCollection, number>();
  const contents = operations.map(contentsOf);
  const size = (parts: readonly Buffer[]): number => parts.reduce((sum, each) => sum + each.length, 0);
  const count = contents.reduce((sum, parts) => sum + parts.length, 0);
  const total = operations.reduce((sum, { wholeKey }, index) => sum + wholeKey.length + size(contents[index] ?? []), 0);
  const numbers = new Uint32Array(operations.length * NUMBERS + count);
  const bytes = new Uint8Array(total);
  let [at, offset] = [0, 0];
  const add = (part: Buffer): void => {
    bytes.set(part, offset);
    offset += part.length;
  };
  operations.forEach(({ collection, kind, wholeKey }, index) => {
    const parts = contents[index] ?? [];
    const known = indexes.get(collection) ?? indexes.size;
    indexes.set(collection, known);
    numbers.set([KINDS.indexOf(kind), known, wholeKey.length, parts.length, ...parts.map((each) => each.length)], at);
    at += NUMBERS + parts.length;
    add(wholeKey);
    for (const each of parts) add(each);
  });
  return { collections: [...indexes.keys()].map(plainOf), numbers, bytes };
}

/** The operations of a batch, as views of its bytes. */
export function unpackOperations({ collections, numbers, bytes }: OperationBatch): Operation[] {
  const known = collections.map(appliedOf);
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const operations: Operation[] = [];
  let [at, offset] = [0, 0];
  const number = (): number => numbers[at++] as number;
  const take = (length: number): Buffer => {
    offset += length;
    return buffer.subarray(offset - length, offset);
  };
  while (at < numbers.length) {
    const kind = KINDS[number()] as Operation['kind'];
    const collection = known[number()] as AppliedCollection;
    const keyLength = number();
    const lengths = Array.from({ length: number() }, number);
    const wholeKey = take(keyLength);
    const id = idOfKey(wholeKey);
    if (id === undefined) throw new AppError('Internal', 'an operation whose key has no _id was handed to a thread');
    const [content, ...further] = lengths.map(take);
    const operation = { collection, kind, id, wholeKey, key: documentKey(wholeKey), content };
    operations.push(further.length === 0 ? operation : { ...operation, further });
  }
  return operations;
}

function contentsOf({ content, further = [] }: Operation): Buffer[] {
  return content === undefined ? [] : [content, ...further];
}

function plainOf(collection: AppliedCollection): PlainCollection {
  const { id, ns, sourceNs, name, destinationUuid, capped, collated, keyPaths } = collection;
  const uuid = destinationUuid && uuidBytes(destinationUuid);
  return { id, ns: { ...ns }, sourceNs: { ...sourceNs }, name, uuid, capped, collated, keyPaths };
}

function appliedOf({ uuid, ...collection }: PlainCollection): AppliedCollection {
  return { ...collection, destinationUuid: uuid && uuidFrom(uuid) };
}
