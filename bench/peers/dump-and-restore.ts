/** Copies with the servers' own tools, mongodump and mongorestore, one piped into the other. */
import { text } from 'node:stream/consumers';
import type { ReplicaSet } from '../../test/support/replica-set.js';
import { findProgram, RunningProgram } from './programs.js';

/** As many as these tools take by default for a dump, and as mongoferry has inserts in flight. */
const WIDE = ['--numParallelCollections', '4'];
const INSERTS = ['--numInsertionWorkersPerCollection', '4'];
const WRITE_CONCERN = ['--writeConcern', '{w: "majority", j: true}'];

/** Both programs. */
export class DumpAndRestore {
  static readonly what = 'dump and restore';
  readonly #dump: string;
  readonly #restore: string;

  private constructor(dump: string, restore: string) {
    this.#dump = dump;
    this.#restore = restore;
  }

  /** `$MONGODUMP` and `$MONGORESTORE`, or those on the PATH; undefined where one is missing. */
  static async find(): Promise<DumpAndRestore | undefined> {
    const dump = await findProgram('MONGODUMP', 'mongodump', ['--version']);
    const restore = await findProgram('MONGORESTORE', 'mongorestore', ['--version']);
    return dump === undefined || restore === undefined ? undefined : new DumpAndRestore(dump, restore);
  }

  /** Copies a database with its indexes. Errors: either program fails; the message has the end of what it said. */
  async copy(source: ReplicaSet, destination: ReplicaSet, database: string): Promise<void> {
    const from = ['--archive', '--db', database, ...WIDE, source.uri];
    const to = ['--archive', ...WIDE, ...INSERTS, ...WRITE_CONCERN, destination.uri];
    await using restore = await RunningProgram.start(this.#restore, to, ['pipe', 'ignore', 'pipe']);
    const { stdin } = restore.child;
    // The restore's end of the pipe is the dump's own output: no byte passes through this process.
    await using dump = await RunningProgram.start(this.#dump, from, ['ignore', stdin, 'pipe']);
    // Held here too, it would never end for the restore.
    stdin?.destroy();
    await Promise.all([succeeded(dump, 'mongodump'), succeeded(restore, 'mongorestore')]);
  }
}

async function succeeded({ child, exited }: RunningProgram, name: string): Promise<void> {
  const said = child.stderr === null ? '' : text(child.stderr);
  const code = await exited;
  if (code !== 0) throw new Error(`${name} ended with ${code}: ${(await said).slice(-500)}`);
}
