/** Finds and runs the programs of other tools, which the bench does not bring with it. */
import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { access, constants, mkdtemp, realpath, symlink } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { runTool, ToolError } from '../../test/support/run-tool.js';
import { startWatchdog, type Watchdog } from '../../test/support/watchdog.js';

/**
 * The program that `$<variable>` names, or else that name on the PATH, as an absolute path; undefined, told on stderr,
 * where it does not answer `args`.
 */
export async function findProgram(
  variable: string,
  name: string,
  args: readonly string[],
): Promise<string | undefined> {
  const named = process.env[variable];
  const program = named === undefined ? await onPath(name) : path.resolve(named);
  try {
    if (program === undefined) throw new ToolError('the PATH has none');
    await runTool(program, args);
    return program;
  } catch (error) {
    if (!(error instanceof ToolError)) throw error;
    console.error(`  ${name} is left out, since it does not run: ${error.message}. Set ${variable} to its path.`);
    return undefined;
  }
}

async function onPath(name: string): Promise<string | undefined> {
  for (const folder of (process.env.PATH ?? '').split(path.delimiter)) {
    const file = path.resolve(folder, name);
    const isThere = await access(file, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (folder !== '' && isThere) return file;
  }
  return undefined;
}

/** A program that ends with its disposal, and at the latest with this process, however that ends. */
export class RunningProgram implements AsyncDisposable {
  readonly child: ChildProcess;
  /** With its code; null when a signal has ended it. */
  readonly exited: Promise<number | null>;
  readonly #watchdog: Watchdog;

  private constructor(child: ChildProcess, watchdog: Watchdog) {
    this.child = child;
    this.exited = new Promise((resolve) => child.once('exit', resolve));
    this.#watchdog = watchdog;
  }

  /** Starts a program, given by its absolute path. */
  static async start(program: string, args: readonly string[], stdio: StdioOptions): Promise<RunningProgram> {
    const folder = await mkdtemp(path.join(await realpath(os.tmpdir()), 'mongoferry-bench-'));
    const watchdog = startWatchdog(folder);
    // The watchdog kills only what names its folder.
    const link = path.join(folder, path.basename(program));
    await symlink(program, link);
    const child = spawn(link, args, { stdio });
    const running = new RunningProgram(child, watchdog);
    try {
      // At once: until it stands there nobody would end the program after this process.
      if (child.pid !== undefined) writeFileSync(path.join(folder, 'program.pid'), `${child.pid}\n`);
      await once(child, 'spawn');
      return running;
    } catch (error) {
      await running[Symbol.asyncDispose]();
      throw error;
    }
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { child } = this;
    if (child.pid !== undefined) {
      child.kill('SIGKILL');
      await this.exited;
    }
    this.#watchdog.release();
  }
}
