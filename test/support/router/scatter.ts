/** Sends a command to every shard, and answers with what each of them said. */

import { Double } from 'mongodb';
import type { ShardAnswer } from './backend.js';
import { type Doc, doc, isTrue } from './raw-values.js';
import { answered, type Concerns, ONE, type Request } from './request.js';

/** Sends the client's command to all shards. */
export async function toAllShards(request: Request, concerns: Concerns, body?: Doc): Promise<ShardAnswer[]> {
  await request.catalog.loadShards();
  const { command } = request;
  return await request.callAll(request.backend.shards, command.db, (shard) =>
    doc(body ?? command.body(), request.envelope(shard, concerns)),
  );
}

/** `{raw: {<shard>: its answer}}`, failed as the first shard that failed. */
export function rawAnswers(request: Request, answers: readonly ShardAnswer[]): Doc {
  const raw = doc();
  for (const { shard, answer } of answers) {
    raw.set(request.backend.connectionString(shard), new Map([...answer].filter(([name]) => name !== 'operationTime')));
  }
  const failed = answers.find(({ answer }) => !isTrue(answer.get('ok')))?.answer;
  const error = failed && { code: failed.get('code'), codeName: failed.get('codeName'), errmsg: failed.get('errmsg') };
  const ok = failed === undefined ? ONE : new Double(0);
  return answered(doc({ raw, ok }, error), ...answers.map(({ answer }) => answer));
}
