/** Finds and ends the programs of other tools, which the bench does not bring with it. */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { runTool, ToolError } from '../../test/support/run-tool.js';

/**
 * The program that `$<variable>` names, or else that name on the PATH; undefined, told on stderr, where it does not
 * answer `args`.
 */
export async function findProgram(
  variable: string,
  name: string,
  args: readonly string[],
): Promise<string | undefined> {
  const program = process.env[variable] ?? name;
  try {
    await runTool(program, args);
    return program;
  } catch (error) {
    if (!(error instanceof ToolError)) throw error;
    console.error(`  ${name} is left out: it does not run; set ${variable} to its path. ${error.message}`);
    return undefined;
  }
}

/** Kills a process, and resolves once it is gone. */
export async function endProcess(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill('SIGKILL');
  await gone;
}
