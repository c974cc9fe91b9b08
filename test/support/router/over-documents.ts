/** Has a server run a pipeline over documents that the router holds. */
import { CONFIG } from './backend.js';
import { type Doc, doc } from './raw-values.js';
import type { Request } from './request.js';

/** Runs a pipeline over documents that are at hand, on any server, outside of session and transaction. */
export async function overDocuments(
  request: Request,
  documents: readonly Buffer[],
  pipeline: readonly Buffer[],
  shard: string = CONFIG,
): Promise<Doc> {
  const { db } = request.command;
  // As they are: what a client has sent, of which operations tell, looks like expressions.
  const stages = [doc({ $documents: doc({ $literal: documents }) }), ...pipeline];
  const concerns = { readConcern: { level: 'local' }, writeConcern: { w: 1 } };
  const body = doc({ aggregate: 1, pipeline: stages, cursor: { batchSize: 1_000_000 }, ...concerns });
  return await request.callOk(shard, db, body);
}
