/** Catches the errors with which calls are refused. */
import type { Document, MongoClient } from 'mongodb';
import { AppError } from '../../src/errors.js';

/** The error with which a call is refused. Errors: one that says so when it is not. */
export async function refusal(call: Promise<unknown>): Promise<AppError> {
  try {
    await call;
  } catch (error) {
    return AppError.from(error);
  }
  throw new Error('the call was not refused');
}

/** The code with which the server refuses this client's insert into `db.coll`; undefined when it takes it. */
export async function insertRefusal(client: MongoClient, db: string, coll: string): Promise<number | undefined> {
  const document: Document = { by: 'somebody' };
  return await client
    .db(db)
    .collection(coll)
    .insertOne(document)
    .then(
      () => undefined,
      (error: { code?: number }) => error.code,
    );
}
