/** Lists the handler of every method of the service: both doors serve what stands here. */
import { check } from './check.js';
import { commit } from './commit.js';
import { getProgress } from './get-progress.js';
import type { Rpc } from './handler.js';
import { listMismatches } from './list-mismatches.js';
import { listNamespaces } from './list-namespaces.js';
import { pause } from './pause.js';
import { progress } from './progress.js';
import { repair } from './repair.js';
import { resume } from './resume.js';
import { reverse } from './reverse.js';
import { start } from './start.js';

/** The handler of every method of mongoferry.v1.SyncService, by the method's name. */
export const RPCS: Readonly<Record<string, Rpc>> = {
  Start: { kind: 'unary', handler: start },
  Progress: { kind: 'stream', handler: progress },
  GetProgress: { kind: 'unary', handler: getProgress },
  ListNamespaces: { kind: 'unary', handler: listNamespaces },
  ListMismatches: { kind: 'unary', handler: listMismatches },
  Repair: { kind: 'unary', handler: repair },
  Pause: { kind: 'unary', handler: pause },
  Resume: { kind: 'unary', handler: resume },
  Commit: { kind: 'unary', handler: commit },
  Reverse: { kind: 'unary', handler: reverse },
  Check: { kind: 'unary', handler: check },
};
