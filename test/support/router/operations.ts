/** Carries out what is about running operations, sessions and oplogs of all shards. */
import { aggregate } from './aggregate.js';
import { CONFIG } from './backend.js';
import { Command } from './command.js';
import { asFields, type Doc, doc, type Encodable } from './raw-values.js';
import { shardOperation } from './refusals.js';
import { cursorOf } from './remote-cursor.js';
import { answered, okay, type Request } from './request.js';
import { rawAnswers, toAllShards } from './scatter.js';
import { commit } from './transactions.js';

/** The handler of currentOp. */
export async function currentOp(request: Request): Promise<Doc> {
  const { command } = request;
  const $currentOp = { allUsers: !command.flag('$ownOps'), idleConnections: command.flag('$all') };
  const pipeline: Encodable[] = [doc({ $currentOp })];
  const filter = command.options('$ownOps', '$all');
  if (filter.size > 0) pipeline.push(doc({ $match: filter }));
  const made = Command.made({ aggregate: 1, pipeline, cursor: {}, $db: 'admin' });
  const answer = await aggregate(request.for(made));
  return okay({ inprog: cursorOf(asFields(answer)).get('firstBatch') });
}

/** The handler of killOp. */
export async function killOp(request: Request): Promise<Doc> {
  const { shard, operation } = shardOperation(request.command);
  await request.call(shard, 'admin', doc({ killOp: 1, op: operation }));
  return okay({ shard, shardid: operation });
}

/** The handler of appendOplogNote: in every shard's oplog. */
export async function appendOplogNote(request: Request): Promise<Doc> {
  return rawAnswers(request, await toAllShards(request, 'write'));
}

/** The handler of killSessions and killAllSessions. */
export async function killSessions(request: Request): Promise<Doc> {
  await toAllShards(request, 'none');
  return okay({});
}

/** The handler of startSession. */
export async function startSession(request: Request): Promise<Doc> {
  const answer = await request.callOk(CONFIG, 'admin', doc({ startSession: 1 }));
  return answered(answer, answer);
}

/** The handler of commitTransaction. */
export async function commitTransaction(request: Request): Promise<Doc> {
  const { command, parts, backend, client } = request;
  const transaction = parts.transactions.find(command);
  const answer = await commit(backend, transaction, command.get('writeConcern'), client.identity);
  return okay({ writeConcernError: answer.get('writeConcernError') }, answer);
}

/** The handler of abortTransaction. Errors: NoSuchTransaction (251). */
export async function abortTransaction({ command, parts }: Request): Promise<Doc> {
  parts.transactions.find(command);
  await parts.transactions.abort(command);
  return okay({});
}
