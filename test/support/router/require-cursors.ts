/** Several shards' cursors are opened together or not at all. */
import { requireOk, type ShardAnswer } from './backend.js';
import { RemoteCursor } from './remote-cursor.js';
import type { Request } from './request.js';

/** Throws the first failure among answers. Cursors that other shards have opened are closed before. */
export async function requireCursors(request: Request, answers: readonly ShardAnswer[]): Promise<void> {
  try {
    requireOk(answers);
  } catch (error) {
    await closeCursors(request, answers);
    throw error;
  }
}

/** Closes the cursors that shards have opened: one that is left open holds up the deletion of moved ranges. */
export async function closeCursors(request: Request, answers: readonly ShardAnswer[]): Promise<void> {
  const opened = answers.filter(({ answer }) => answer.has('cursor'));
  const session = request.command.some('lsid');
  await Promise.all(opened.map(({ shard, answer }) => new RemoteCursor(shard, answer).kill(request, session)));
}
