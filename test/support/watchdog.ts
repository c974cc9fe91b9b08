/** Cleans up after a test process, also one that was killed. */
import { spawn } from 'node:child_process';

// Waits for the end of its standard input, which comes when the parent closes it or dies by whatever cause. A process
// is killed only while its command line still names the folder, so that a pid taken over by another program is safe.
const SCRIPT = `
root=$1
trap '' HUP INT TERM
cat >/dev/null
ours() {
  { cat "/proc/$1/cmdline" 2>/dev/null || ps -o args= -p "$1" 2>/dev/null; } | grep -qaF -- "$root"
}
for file in "$root"/*.pid; do
  [ -s "$file" ] || continue
  read -r pid <"$file"
  tries=0
  while ours "$pid" && [ "$tries" -lt 200 ]; do
    kill -9 "$pid"
    tries=$((tries + 1))
    sleep 0.05
  done
done
rm -rf -- "$root"
`;

/** Stands by to clean up after this process; {@link Watchdog.release} lets it do so now. */
export interface Watchdog {
  /** Ends the stand-by: what is left in the folder, and the processes, are done away with. */
  release(): void;
}

/**
 * Starts a small shell that outlives this process, even one killed by SIGKILL, and then kills the processes whose
 * pids stand in `<folder>/*.pid` and removes the folder. A handler in this process could not do that.
 *
 * The processes must name the folder on their command lines. Nothing here keeps this process running.
 */
export function startWatchdog(folder: string): Watchdog {
  const shell = spawn('/bin/sh', ['-c', SCRIPT, 'mongoferry-watchdog', folder], {
    // A session of its own, or Ctrl-C and a killed process group would end it along with its parent.
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  shell.unref();
  // A pipe is a net.Socket, which the type does not tell; left referenced it would keep this process from ending.
  if ('unref' in shell.stdin && typeof shell.stdin.unref === 'function') shell.stdin.unref();
  return { release: () => shell.stdin.end() };
}
