/** Carries out convertToCapped, which is for unsharded collections only. */
import { namespaceNotFound } from './errors.js';
import { type Doc, doc } from './raw-values.js';
import { refused } from './refusals.js';
import { answered, type Request } from './request.js';

/** The handler. Errors: IllegalOperation (20) for a sharded collection. */
export async function convertToCapped(request: Request): Promise<Doc> {
  const { command, catalog } = request;
  const { db, ns } = command;
  if ((await catalog.home(db)) === undefined) throw namespaceNotFound();
  return await request.retryStale(ns, async () => {
    const { table, home } = await request.route(ns);
    if (table) throw refused('cappedSharded');
    const version = await request.version(ns, table, home);
    const answer = await request.callOk(home, db, doc(command.body(), version, request.envelope(home, 'write')));
    return answered(answer, answer);
  });
}
