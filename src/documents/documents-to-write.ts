/** Documents that are to be written: each by itself, or as a reply has them; and how many of them go in one command. */
import { RawBatch } from './raw-batch.js';

/** Documents, or statements around them, as raw BSON. */
export type Documents = readonly Buffer[] | RawBatch;

/** Bounds of one command: the server takes 48,000,000 bytes and 100,000 statements. */
const MAX_BATCH_BYTES = 20_000_000;
const MAX_BATCH_STATEMENTS = 50_000;

/** Each by itself. */
export function eachOf(documents: Documents): readonly Buffer[] {
  return documents instanceof RawBatch ? documents.documents : documents;
}

/** Of all of them together. */
export function totalBytes(documents: Documents): number {
  return documents instanceof RawBatch ? documents.bytes : documents.reduce((sum, each) => sum + each.length, 0);
}

/** Statements of one kind, in commands that the server takes. What has come in one reply goes in one command. */
export function* commandsOf(statements: Documents): Generator<Documents> {
  if (statements instanceof RawBatch) {
    if (statements.length > 0) yield statements;
    return;
  }
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
