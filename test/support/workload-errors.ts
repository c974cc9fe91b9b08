/** Decides which errors a random workload may meet. */
import {
  MongoBulkWriteError,
  MongoError,
  MongoNetworkError,
  MongoServerError,
  MongoServerSelectionError,
} from 'mongodb';

/**
 * Whether a random workload meets this error legitimately. Whatever a server refuses is: what was asked for is not
 * there, is there already, does not fit, or something is in the way, in ways too many to list. So are outages, which a
 * test brings about. What is left is the driver's refusal of an operation: a mistake in the workload itself.
 */
export function isExpected(error: MongoError): boolean {
  if (error instanceof MongoNetworkError || error instanceof MongoServerSelectionError) return true;
  return error instanceof MongoServerError || error instanceof MongoBulkWriteError;
}

/** A short name for counting, e.g. `DuplicateKey`. */
export function nameOf(error: MongoError): string {
  // The driver puts another error, about retryable writes, in the place of each IllegalOperation.
  const original: unknown = error instanceof MongoServerError ? error['originalError'] : undefined;
  if (original instanceof MongoError) return nameOf(original);
  if (error instanceof MongoServerError && typeof error['codeName'] === 'string') return error['codeName'];
  return error.code === undefined ? error.name : `code ${error.code}`;
}
